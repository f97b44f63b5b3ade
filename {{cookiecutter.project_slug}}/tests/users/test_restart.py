"""A real server is restarted under load, and no read fails."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.settings import Settings
from dev.servers.postgres import execute
from tests.database.fixtures import connections_of
from tests.database.load import reading
from tests.database.servers import pg_ctl
from tests.users.conftest import primary
from tests.waiting import until

NAME = "users-through-a-restart"


@pytest.fixture
async def empty_table(own_server: str) -> AsyncIterator[None]:
    """By a connection that outlives no restart."""
    await execute(own_server, "INSERT INTO users (name, email) VALUES ('x', 'x@example.com')")
    yield
    await execute(own_server, "TRUNCATE users RESTART IDENTITY")


@pytest.fixture
def settings(own_server: str) -> Settings:
    settings = Settings()
    settings.primary.url = SecretStr(own_server)
    settings.primary.application_name = NAME
    return settings


# A restart, and a crash.
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_no_read_fails(
    mode: str, app: FastAPI, client: httpx.AsyncClient, own_server: str
) -> None:
    pool = primary(app)
    async with reading(client, "/users/1", pool) as load:
        await until(lambda: len(load.statuses) > 100)
        await pg_ctl(own_server, "restart", f"--mode={mode}")
        seen = len(load.statuses)
        await until(lambda: len(load.statuses) > seen + 100)
    stats = pool.stats()
    assert stats.errors["Unavailable"] > 0  # those that were in the middle
    assert stats.errors["NotConnected"] > 0  # those that came while it was away
    assert set(load.statuses) == {200}
    assert load.lowest == 0
    assert (stats.checked_out, stats.waiting) == (0, 0)
    observer = await asyncpg.connect(own_server)
    assert await connections_of(observer, NAME) == ["idle"] * stats.size
    await observer.close()


async def test_a_server_that_is_shutting_down(
    app: FastAPI, client: httpx.AsyncClient, own_server: str
) -> None:
    last = await asyncpg.connect(own_server)
    await last.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
        NAME,
    )
    await until(lambda: primary(app).stats().size == 0)
    # As long as that connection lasts, new ones are refused (57P03, cannot_connect_now).
    await pg_ctl(own_server, "stop", "--mode=smart", "--no-wait")

    async def is_shutting_down() -> bool:
        try:
            await execute(own_server)
        except asyncpg.CannotConnectNowError:
            return True
        return False

    await until(is_shutting_down)
    async with reading(client, "/users/1", primary(app), clients=1) as load:
        await until(lambda: primary(app).stats().errors.get("NotConnected", 0) > 0)
        await last.close()
        await pg_ctl(own_server, "restart")
        await until(lambda: len(load.statuses) > 0)
    assert set(load.statuses) == {200}
