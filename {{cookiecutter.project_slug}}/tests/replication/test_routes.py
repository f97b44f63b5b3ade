"""Which database serves what."""

# Goes with the examples.

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr
from sqlalchemy import text

from app.main import create_app
from app.pools.base import Unavailable
from app.pools.postgres import Connection
from app.settings import Settings
from dev.servers.postgres import database_on, execute
from tests.database.fixtures import observer
from tests.replication.conftest import create_users, replica_pool

__all__ = ["observer"]


@pytest.fixture
def analytics(variables: dict[str, str]) -> Iterator[str]:
    """A third database, on another server."""
    with database_on(variables["DATABASE_URL"]) as url:
        asyncio.run(execute(url, create_users()))
        yield url


async def test_each_kind_of_work_goes_to_its_database(
    settings: Settings, on_primary: Connection, analytics: str
) -> None:
    settings.analytics.url = SecretStr(analytics)
    app = create_app(settings)
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            created = await client.post("/users", json={"name": "x", "email": "x@example.com"})
            assert created.status_code == 201
            assert await on_primary.fetchval("SELECT count(*) FROM users") == 1
            assert (await client.get("/analytics/users")).json() == {
                "users": 0,
                "created_last_day": 0,
            }
            client.cookies.clear()
            before = sum(replica_pool(app).stats().checkout.counts)
            await client.get("/users/1")
            assert sum(replica_pool(app).stats().checkout.counts) > before
            ready = await client.get("/health/ready")
            assert {"primary", "replica", "analytics"} <= set(ready.json()["pools"])


@pytest.mark.parametrize("name", ["replica", "analytics"])
def test_what_can_be_stood_in_for_does_not_decide_readiness(name: str) -> None:
    pools = dict(Settings().pool_settings())
    assert not pools[name].required
    assert pools["primary"].required


def test_the_defaults_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICA__LOCK_TIMEOUT", "0.5")
    settings = Settings()
    pools = {name for name, pool in settings.pool_settings() if pool.enabled}
    assert "primary" in pools
    assert not {"replica", "analytics"} & pools
    assert (settings.replica.pool_size, settings.analytics.pool_size) == (30, 5)
    assert settings.replica.max_lag == 10


async def test_the_primary_serves_what_has_no_url(observer: Connection) -> None:
    app = create_app(Settings())
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/users/1")).status_code == 404
            assert (await client.get("/analytics/users")).status_code == 200
            created = await client.post("/users", json={"name": "x", "email": "r@example.com"})
            assert created.status_code == 201
            assert "X-Read-After" not in created.headers
            pools = (await client.get("/health/ready")).json()["pools"]
            assert not {"replica", "analytics"} & set(pools)
    await observer.execute("TRUNCATE users RESTART IDENTITY")


async def test_reading_pools_cannot_write(settings: Settings, analytics: str) -> None:
    settings.analytics.url = SecretStr(analytics)
    app = create_app(settings)
    async with LifespanManager(app):
        pools = {pool.name: pool for pool in app.state.pools}
        for name in ("replica", "analytics"):
            with pytest.raises(Unavailable, match="read-only transaction"):
                async with pools[name].engine.connect() as session:
                    await session.execute(text("DELETE FROM users"))


async def test_figures_have_a_deadline_of_their_own(
    variables: dict[str, str], observer: Connection
) -> None:
    settings = Settings(request_deadline=1)
    settings.analytics.url = SecretStr(variables["DATABASE_URL"])
    app = create_app(settings)
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            async with observer.transaction():
                await observer.execute("LOCK TABLE users")
                figures = asyncio.create_task(client.get("/analytics/users"))
                assert (await client.get("/users/1")).status_code in (503, 504)
                assert not figures.done()
            assert (await figures).status_code == 200
