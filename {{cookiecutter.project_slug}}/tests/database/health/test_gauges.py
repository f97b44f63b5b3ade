"""Whatever happens, the gauges say what the server says."""

# Goes with the examples.

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.pools.postgres import DatabaseSettings
from app.settings import Settings
from tests.database.fixtures import hasty
from tests.database.servers import pg_ctl
from tests.waiting import until

__all__ = ["hasty"]

pytestmark = pytest.mark.usefixtures("hasty")

SIZE = 5
NAME = "gauges-under-test"


@pytest.fixture
def settings(own_server: str) -> Settings:
    settings = Settings(request_deadline=2)
    for name, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings) and pool.enabled:
            sizes = {"pool_size": SIZE, "max_overflow": 0, "min_size": 1, "max_size": SIZE}
            given = {"url": SecretStr(own_server), "application_name": f"{NAME}/{name}"} | sizes
            update = {key: value for key, value in given.items() if hasattr(pool, key)}
            setattr(settings, name, pool.model_copy(update=update))
    return settings


def databases(app: FastAPI) -> list[Any]:
    return [pool for pool in app.state.pools if hasattr(pool, "connections")]


class Watch:
    """The service's figures beside the server's."""

    def __init__(self, url: str, app: FastAPI, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client
        self._databases = databases(app)
        self.pools = {pool.name for pool in self._databases}
        paths = [path for path in app.openapi()["paths"] if path.endswith("_id}")]
        self.tables = [path.split("/")[1] for path in paths]

    async def gauges(self) -> dict[str, tuple[float, float]]:
        """Connections and those in use, by pool; none is negative or more than may be."""
        text = (await self._client.get("/metrics")).text
        found = {
            (sample.name, sample.labels.get("pool")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        for pool in self.pools:
            for name in ("size", "checked_out", "idle", "overflow", "waiting"):
                assert found[f"db_pool_{name}", pool] >= 0
            assert found["db_pool_checked_out", pool] <= found["db_pool_size", pool]
            assert found["db_pool_size", pool] <= found["db_pool_max", pool]
        return {
            pool: (found["db_pool_size", pool], found["db_pool_checked_out", pool])
            for pool in self.pools
        }

    async def truth(self) -> dict[str, tuple[float, float]]:
        connection = await asyncpg.connect(self._url)
        rows = await connection.fetch(
            "SELECT application_name, count(*), count(*) FILTER (WHERE state <> 'idle') AS busy"
            " FROM pg_stat_activity GROUP BY application_name"
        )
        await connection.close()
        found = {row["application_name"]: (row["count"], row["busy"]) for row in rows}
        return {pool: found.get(f"{NAME}/{pool}", (0, 0)) for pool in self.pools}

    async def can_read(self) -> bool:
        return set(await self.read(SIZE)) == {200}

    async def agree(self) -> bool:
        return await self.gauges() == await self.truth()

    def queues(self) -> int:
        """In how many pools requests wait."""
        return sum(pool.stats().waiting > 0 for pool in self._databases)

    async def are_in_use(self) -> bool:
        """Whether the server works on as much as it may for the pool of each table."""
        at_work = [(size, busy) for size, busy in (await self.truth()).values() if busy]
        return at_work == [(SIZE, SIZE)] * len(self.tables)

    async def read(self, times: int) -> list[int]:
        """The statuses of so many reads of each table, all at once."""
        paths = [f"/{table}/1" for table in self.tables] * times
        answers = await asyncio.gather(*map(self._client.get, paths))
        return [answer.status_code for answer in answers]

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Nobody can read as long as the context lasts."""
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(f"BEGIN; LOCK TABLE {', '.join(self.tables)}")
            yield
        finally:
            connection.terminate()


@pytest.fixture
async def watch(own_server: str, app: FastAPI, client: httpx.AsyncClient) -> Watch:
    return Watch(own_server, app, client)


async def test_after_checkouts_that_failed_with_the_server_down(
    own_server: str, watch: Watch
) -> None:
    assert set(await watch.read(SIZE)) == {200}
    assert await watch.agree()
    await pg_ctl(own_server, "stop", "--mode", "fast")
    try:
        assert set(await watch.read(20)) <= {503, 504}
        assert set((await watch.gauges()).values()) == {(0, 0)}
    finally:
        await pg_ctl(own_server, "restart")  # which remembers the options, other than "start"
    await until(watch.can_read)
    await until(watch.agree)


async def test_after_requests_that_were_cancelled(app: FastAPI, watch: Watch) -> None:
    for _ in range(400 // 40):
        async with watch.lock():
            requests = asyncio.create_task(watch.read(40 // len(watch.tables)))
            await until(lambda: watch.queues() == len(watch.tables))
            requests.cancel()
            await asyncio.wait({requests})
            await app.state.leftovers.settle(5)
            await until(watch.agree)
    assert [in_use for _, in_use in (await watch.gauges()).values()] == [0] * len(watch.pools)


async def test_after_backends_were_killed(own_server: str, watch: Watch) -> None:
    assert set(await watch.read(SIZE)) == {200}
    before = await watch.truth()
    connection = await asyncpg.connect(own_server)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1",
        f"{NAME}/%",
    )
    await connection.close()

    async def are_gone() -> bool:
        now = await watch.truth()
        return all(now[pool] < before[pool] for pool in watch.pools)

    await until(are_gone)
    await until(watch.agree)
    assert set(await watch.read(SIZE)) == {200}
    await until(watch.agree)


async def test_after_a_restart_under_load(own_server: str, watch: Watch) -> None:
    async with watch.lock():
        load = asyncio.create_task(watch.read(SIZE))
        await until(watch.are_in_use)
        await pg_ctl(own_server, "restart", "--mode", "immediate")
        assert set(await load) <= {200, 503, 504}
    await until(watch.can_read)
    await until(watch.agree)


async def test_while_and_after_the_pools_are_exhausted(watch: Watch) -> None:
    async with watch.lock():
        load = asyncio.create_task(watch.read(3 * SIZE))
        await until(watch.are_in_use)
        assert await watch.agree()
        assert set(await load) <= {503, 504}  # no lock, no connection, or neither in time
    await until(watch.agree)
    assert [in_use for _, in_use in (await watch.gauges()).values()] == [0] * len(watch.pools)
