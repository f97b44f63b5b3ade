"""Fixtures for tests that look at the database from outside the service."""

import sys
from collections.abc import AsyncIterator
from time import monotonic

import asyncpg
import pytest

from app.pools import breaker
from app.pools.postgres import Connection
from tests.database.proxy import Proxy
from tests.waiting import until


@pytest.fixture
async def observer(variables: dict[str, str]) -> AsyncIterator[Connection]:
    """A connection of the test's own, outside every pool and every transaction."""
    connection = await asyncpg.connect(variables["DATABASE_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def proxy(variables: dict[str, str]) -> AsyncIterator[Proxy]:
    async with Proxy(variables["DATABASE_URL"]).run() as proxy:
        yield proxy


async def connections_of(observer: Connection, application_name: str) -> list[str]:
    """The states of the connections that the server has from a pool."""
    rows = await observer.fetch(
        "SELECT state FROM pg_stat_activity WHERE application_name = $1 ORDER BY state",
        application_name,
    )
    return [row["state"] for row in rows]


async def until_connections_of(
    observer: Connection, application_name: str, states: list[str]
) -> None:
    """Wait for the server, which may have yet to notice that a client is gone."""

    async def are_as_expected() -> bool:
        return await connections_of(observer, application_name) == states

    await until(are_as_expected)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are away are probed in quick succession."""
    monkeypatch.setattr(breaker, "PROBE_EVERY", 0.05)
    monkeypatch.setattr(breaker, "JITTER", 0)


class Clock:
    """Stands still, but for what a test adds to it."""

    def __init__(self) -> None:
        self.now = monotonic()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What pools measure time with."""
    clock = Clock()
    for name, module in list(sys.modules.items()):
        if name.startswith("app.pools.") and hasattr(module, "monotonic"):
            monkeypatch.setattr(module, "monotonic", clock)
    return clock
