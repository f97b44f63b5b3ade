"""The connection budget: what the pools may open, against what their server has room for."""

from collections.abc import AsyncIterator

import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from app.budget.arithmetic import by_server, excess
from app.budget.background import OverBudget
from app.main import create_app
from app.pools.postgres import Connection
from app.settings import Settings
from tests.database.fixtures import observer
from tests.waiting import until

__all__ = ["observer"]

INSTANCES = 50


@pytest.fixture
def settings() -> Settings:
    return Settings(web_concurrency=2, instances=INSTANCES, budget="warn")


@pytest.fixture
async def started(app: FastAPI) -> AsyncIterator[FastAPI]:
    async with LifespanManager(app):
        yield app


async def room(observer: Connection) -> int:
    names = ("max_connections", "superuser_reserved_connections", "reserved_connections")
    values = [int(await observer.fetchval(f"SHOW {name}")) for name in names]
    return values[0] - values[1] - values[2]


async def test_pools_at_the_same_server_share_its_room(
    started: FastAPI, observer: Connection
) -> None:
    [group] = by_server(started.state.pools)
    limit = await room(observer)
    budget = 2 * INSTANCES * sum(each.most for each in group)
    for each in group:
        assert (each.budget, each.server and each.server.limit) == (budget, limit)
    [sentence] = excess(started.state.pools)
    sizes = " + ".join(f"{each.name} {each.most}" for each in group)
    assert f"({sizes}) x {2 * INSTANCES} processes = {budget} connections" in sentence
    assert f"room for {limit} " in sentence


async def test_what_fits_is_not_worth_a_word(observer: Connection) -> None:
    app = create_app(Settings())
    async with LifespanManager(app):
        assert excess(app.state.pools) == []


async def test_pools_at_other_servers_do_not_share(started: FastAPI, observer: Connection) -> None:
    [group] = by_server(started.state.pools)
    group[0].server = None  # behind PgBouncer, or not reached yet
    assert group[0].sharing() == [group[0]]
    assert all(group[0] not in each.sharing() for each in group[1:])


async def test_strict_refuses_to_start_and_leaves_no_connection(
    settings: Settings, observer: Connection
) -> None:
    names: list[str] = []
    for name, pool in settings.pool_settings():
        if hasattr(pool, "application_name"):
            pool.application_name = f"strict/{name}"
            names.append(pool.application_name)
    settings.budget = "strict"
    with pytest.raises(OverBudget, match="lower the pools' sizes"):
        async with LifespanManager(create_app(settings)):
            raise AssertionError("the service has started")

    async def is_gone() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = ANY($1)"
        return int(await observer.fetchval(query, names)) == 0

    assert names
    await until(is_gone)
