"""The primary is gone, its replica is promoted, and writes go on there."""

# Goes with the examples.

import asyncio
from collections.abc import Iterator
from time import monotonic

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.settings import Settings
from dev.servers.postgres import run, start, stop
from tests.database.servers import directory_of
from tests.replication.conftest import Cluster, configure, new_cluster
from tests.waiting import until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A write is acknowledged when the replica has it, so that none is lost."""
    with new_cluster() as cluster:
        configure(cluster.primary, synchronous_standby_names="*", synchronous_commit="on")
        yield cluster


@pytest.fixture
def settings(cluster: Cluster) -> Settings:
    settings = Settings()
    hosts = f"host={directory_of(cluster.primary)}&host={directory_of(cluster.replica)}"
    url = f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=primary"
    settings.primary.url = SecretStr(url)
    settings.replica.url = None
    return settings


async def emails(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT email FROM users")
    await connection.close()
    return {row["email"] for row in rows}


async def test_writes_follow_a_promoted_replica(
    app: FastAPI, client: httpx.AsyncClient, cluster: Cluster
) -> None:
    acknowledged: list[str] = []

    async def write_on(writer: int) -> None:
        number = 0
        while True:
            number += 1
            email = f"{writer}-{number}@example.com"
            answer = await client.post("/users", json={"name": "x", "email": email})
            if answer.status_code == 201:
                acknowledged.append(email)
            else:
                assert answer.status_code == 503
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write_on(writer)) for writer in range(4)]
        await until(lambda: len(acknowledged) > 50)
        await asyncio.to_thread(stop, directory_of(cluster.primary))
        before = len(acknowledged)
        await asyncio.to_thread(run, "pg_ctl", cluster.replica_data, "promote", "--silent")
        promoted = monotonic()
        await until(lambda: len(acknowledged) > before)
        assert monotonic() - promoted < 5
        # The old primary comes back as a replica, and no write goes there.
        (directory_of(cluster.primary) / "standby.signal").touch()
        await asyncio.to_thread(start, directory_of(cluster.primary))
        on_old = await emails(cluster.primary)
        before = len(acknowledged)
        await until(lambda: len(acknowledged) > before + 50)
        for writer in writers:
            writer.cancel()
    assert set(acknowledged) <= await emails(cluster.replica)
    assert await emails(cluster.primary) == on_old
    assert app.state.pools[0].stats().closed["lost"] > 0
    await until(lambda: app.state.pools[0].stats().checked_out == 0)


async def test_a_primary_that_becomes_read_only_loses_its_connections(
    app: FastAPI, client: httpx.AsyncClient, cluster: Cluster
) -> None:
    async def create(number: int) -> int:
        email = f"{number}@example.com"
        return (await client.post("/users", json={"name": "x", "email": email})).status_code

    assert await create(1) == 201
    pool = app.state.pools[0]
    await asyncio.to_thread(run, "pg_ctl", directory_of(cluster.primary), "stop", "--mode=fast")
    (directory_of(cluster.primary) / "standby.signal").touch()
    await asyncio.to_thread(start, directory_of(cluster.primary))
    await asyncio.to_thread(run, "pg_ctl", cluster.replica_data, "promote", "--silent")

    async def is_written() -> bool:
        return await create(2) == 201

    await until(is_written)
    assert pool.stats().closed
    assert await emails(cluster.replica) == {"1@example.com", "2@example.com"}
