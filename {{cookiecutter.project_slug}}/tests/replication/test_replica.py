"""A replica that lags, dies and comes back, and clients who read their own writes."""

# Goes with the examples.

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.databases import BaseReader
from app.pools import replica
from app.pools.postgres import Connection
from app.pools.replica import END_OF_LOG, position
from app.replication.requests import given
from app.users.models import User
from dev.servers.postgres import start, stop
from tests.replication.conftest import Cluster, configure, replica_pool
from tests.waiting import until


@pytest.fixture
def delayed(cluster: Cluster) -> Iterator[None]:
    """The replica replays everything 0.3 seconds late."""
    configure(cluster.replica, recovery_min_apply_delay="300ms")
    yield
    configure(cluster.replica, recovery_min_apply_delay="0")


async def create(client: httpx.AsyncClient, number: int) -> httpx.Response:
    answer = await client.post("/users", json={"name": "x", "email": f"{number}@example.com"})
    assert answer.status_code == 201
    return answer


@pytest.mark.usefixtures("delayed")
@pytest.mark.parametrize("carrier", ["cookie", "header"])
async def test_a_client_reads_what_it_wrote(client: httpx.AsyncClient, carrier: str) -> None:
    for number in range(100):
        created = await create(client, number)
        headers = {"X-Read-After": created.headers["X-Read-After"]}
        if carrier == "header":
            client.cookies.clear()
        read = await client.get(
            f"/users/{created.json()['id']}", headers=headers if carrier == "header" else None
        )
        assert read.status_code == 200, number


@pytest.mark.usefixtures("delayed")
async def test_without_its_token_it_may_not(client: httpx.AsyncClient) -> None:
    created = await create(client, 0)
    client.cookies.clear()
    path = f"/users/{created.json()['id']}"
    assert (await client.get(path)).status_code == 404

    async def is_replayed() -> bool:
        return (await client.get(path)).status_code == 200

    await until(is_replayed)


async def test_a_server_that_is_not_the_one_of_the_last_look_is_asked_itself(
    app: FastAPI,
    client: httpx.AsyncClient,
    on_replica: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where several replicas share a name, and another one has replayed all of the log."""
    monkeypatch.setattr(replica, "LOOK_EVERY", 60)
    await replica_pool(app).look()  # the last
    await on_replica.execute("SELECT pg_wal_replay_pause()")
    created = await create(client, 0)
    replica_pool(app)._replayed = END_OF_LOG
    path = f"/users/{created.json()['id']}"
    assert (await client.get(path)).status_code == 200
    client.cookies.clear()
    assert (await client.get(path)).status_code == 404
    await on_replica.execute("SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize("token", ["", "0", "x/y", "0/123456789", "-1/0", "0/0" * 1000])
async def test_a_token_that_is_none_is_ignored(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get("/users/1", headers={"X-Read-After": token})
    assert answer.status_code == 404


def test_a_token_is_found_among_cookies_in_several_headers() -> None:
    cookies = [(b"cookie", b'a=b; X-Read-After="0/1F"'), (b"cookie", b"c=d")]
    for headers in (cookies, cookies[::-1]):
        assert list(given({"headers": headers})) == ["0/1F"]


async def test_a_token_goes_back_to_the_replica_once_it_has_caught_up(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await create(client, 0)
    pool = replica_pool(app)
    after = position(client.cookies["X-Read-After"].strip('"'))
    await until(lambda: pool.source(after) is pool)


async def test_a_replica_is_not_behind_a_primary_that_writes_nothing(
    app: FastAPI, client: httpx.AsyncClient, on_primary: Connection
) -> None:
    await on_primary.execute("SELECT pg_switch_wal()")  # to a new page, which is empty

    async def has_all() -> bool:
        await replica_pool(app).look()
        return replica_pool(app).lag == 0

    await until(has_all)


async def test_a_replica_too_far_behind_is_left_out_and_comes_back(
    app: FastAPI,
    client: httpx.AsyncClient,
    on_replica: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "LOOK_EVERY", 0.05)
    pool = replica_pool(app)
    pool._max_lag = 0.4
    assert pool.is_in
    await on_replica.execute("SELECT pg_wal_replay_pause()")
    created = await create(client, 0)
    client.cookies.clear()
    await until(lambda: not pool.is_in)
    assert pool.lag > 0.4
    assert (await client.get(f"/users/{created.json()['id']}")).status_code == 200
    await on_replica.execute("SELECT pg_wal_replay_resume()")
    await until(lambda: pool.is_in)
    assert pool.lag <= 0.2


async def test_a_replica_that_is_killed_costs_no_read_and_is_back_within_five_seconds(
    app: FastAPI, client: httpx.AsyncClient, cluster: Cluster
) -> None:
    pool = replica_pool(app)
    await create(client, 0)
    client.cookies.clear()

    async def is_replayed() -> bool:
        return (await client.get("/users/1")).status_code == 200

    await until(is_replayed)
    statuses: list[int] = []

    async def read_on() -> None:
        while True:
            statuses.append((await client.get("/users/1")).status_code)
            await asyncio.sleep(0.01)  # a load that leaves the service time to look around

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read_on()) for _ in range(5)]
        await until(lambda: len(statuses) > 50)
        await asyncio.to_thread(stop, cluster.replica_data)
        seen = len(statuses)
        await until(lambda: not pool.is_in and len(statuses) > seen + 50)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["pools"]["replica"]) == (200, "down")
        await asyncio.to_thread(start, cluster.replica_data)
        await until(lambda: pool.is_in, seconds=5)
        for reader in readers:
            reader.cancel()
    await app.state.leftovers.settle(5)
    assert set(statuses) == {200}
    await until(lambda: pool.stats().checked_out == 0)


async def test_rows_are_locked_on_the_primary_only(app: FastAPI, client: httpx.AsyncClient) -> None:
    reader = BaseReader(replica_pool(app), app.state.retry, after=None)
    with pytest.raises(TypeError, match="FOR UPDATE locks rows"):
        await reader.all(select(User.id).with_for_update())
