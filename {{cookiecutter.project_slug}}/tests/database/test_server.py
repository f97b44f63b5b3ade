"""A real server that is restarted under load, shuts down, refuses the service, or is not there."""

# Goes with the examples.

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.pools import breaker
from app.pools.postgres import DatabaseSettings
from app.settings import Settings
from dev.servers.postgres import execute, start
from tests.database.failures import changed
from tests.database.fixtures import hasty, until_connections_of
from tests.database.load import databases, reading, reads
from tests.database.servers import directory_of, pg_ctl
from tests.waiting import until

__all__ = ["hasty"]

NAME = "server-under-test"

Change = Callable[[str], str]


@pytest.fixture
def change() -> Change:
    """How the service's URL differs from the server's."""
    return str


@pytest.fixture
def settings(own_server: str, change: Change) -> Settings:
    """All databases on one server; there is time for a restart on a machine that is busy."""
    settings = Settings(request_deadline=30)
    for name, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings) and pool.enabled:
            pool.url = SecretStr(change(own_server))
            pool.application_name = f"{NAME}/{name}"
    return settings


def errors(app: FastAPI, kind: str) -> list[int]:
    """How many of a kind each pool has met."""
    return [pool.stats().errors.get(kind, 0) for pool in databases(app)]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("mode", ["fast", "immediate"], ids=["restart", "crash"])
async def test_no_read_fails(
    mode: str, app: FastAPI, client: httpx.AsyncClient, own_server: str
) -> None:
    async with reading(client, reads(app), databases(app)) as load:
        await until(lambda: len(load.statuses) > 50)
        await pg_ctl(own_server, "stop", f"--mode={mode}")
        await until(lambda: any(errors(app, "NotConnected")))
        await asyncio.to_thread(start, directory_of(own_server))
        seen = len(load.statuses)
        await until(lambda: len(load.statuses) > seen + 50)
    assert set(load.statuses) == {200}
    assert load.lowest == 0
    observer = await asyncpg.connect(own_server)
    for pool in databases(app):
        stats = pool.stats()
        assert (stats.checked_out, stats.waiting, stats.idle) == (0, 0, stats.size)
        await until_connections_of(observer, f"{NAME}/{pool.name}", ["idle"] * stats.size)
    await observer.close()


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_is_shutting_down(
    app: FastAPI, client: httpx.AsyncClient, own_server: str
) -> None:
    last = await asyncpg.connect(own_server)
    # As long as that connection lasts, new ones are refused (57P03, cannot_connect_now).
    await pg_ctl(own_server, "stop", "--mode=smart", "--no-wait")

    async def is_shutting_down() -> bool:
        try:
            await execute(own_server)
        except asyncpg.CannotConnectNowError:
            return True
        return False

    await until(is_shutting_down)
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    await last.execute(f"{query} WHERE application_name LIKE '{NAME}/%'")
    async with reading(client, reads(app), databases(app), clients=1) as load:
        await until(lambda: any(errors(app, "NotConnected")))
        await last.close()
        await pg_ctl(own_server, "restart")
        await until(lambda: len(load.statuses) >= len(reads(app)))
    assert set(load.statuses) == {200}


@pytest.fixture
def only_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next would come long after the test."""
    monkeypatch.setattr(breaker, "PROBE_EVERY", 60)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """How often the service has tried to connect."""
    attempts: list[object] = []
    connect = asyncpg.connect

    async def counted(*args: Any, **kwargs: Any) -> Any:
        attempts.append(args)
        return await connect(*args, **kwargs)

    monkeypatch.setattr(asyncpg, "connect", counted)
    return attempts


@pytest.fixture(scope="module")
def guarded(own_server: str) -> None:
    """The role of this name has to give a password, which is not the one that the service has."""
    create = "CREATE ROLE guarded LOGIN PASSWORD 'right'"
    asyncio.run(execute(own_server, create))
    rules = directory_of(own_server) / "pg_hba.conf"
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    asyncio.run(pg_ctl(own_server, "restart"))


@pytest.mark.usefixtures("guarded", "only_one_probe")
@pytest.mark.parametrize(
    "change",
    [
        partial(changed, role="nobody"),
        partial(changed, role="guarded"),
        partial(changed, database="nowhere"),
    ],
    ids=["28000", "28P01", "3D000"],
)
async def test_who_is_refused_asks_no_more(
    attempts: list[object], app: FastAPI, client: httpx.AsyncClient
) -> None:
    """Nor do the other pools at the same server, once one knows; at start, several may ask."""
    asked = len(attempts)
    assert 1 <= asked <= len(databases(app))
    for path in 5 * reads(app):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert len(attempts) == asked
    assert all(errors(app, "Refused"))
