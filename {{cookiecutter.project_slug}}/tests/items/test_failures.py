"""Every failure is made on a real server: which are retried, what is answered, what is left."""

# Goes with the examples.

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.pools.asyncpg import PooledConnection
from app.pools.base import OutcomeUnknown, Unavailable
from app.pools.postgres import Connection
from app.retry import RetrySettings
from app.settings import Settings
from app.sql import Sql
from tests.database.failures import (
    AT_REST,
    WITH,
    WITHIN,
    WITHOUT,
    Failure,
    Place,
    changed,
    says_goodbye,
    unique_violation,
)
from tests.database.proxy import Proxy
from tests.items.conftest import raw_pool

NAME = "items-in-trouble"
ROWS = "INSERT INTO items (name, value) VALUES ('1', '1'), ('2', '2')"


def by_itself(failures: list[Failure[Any]], *, idempotent: bool) -> list[Failure[Any]]:
    """With statements that are stored by themselves a lost connection leaves open which were."""
    status = 200 if idempotent else 503
    return [
        replace(failure, error=OutcomeUnknown, status=status)
        if failure.error is Unavailable
        else failure
        for failure in failures
    ]


@pytest.fixture
def settings(proxy: Proxy, failure: Failure[Any]) -> Settings:
    settings = Settings(retry=RetrySettings(base_delay=0.01))
    settings.asyncpg = settings.asyncpg.model_copy(
        update={
            "url": SecretStr(changed(proxy.url, **failure.url)),
            "application_name": NAME,
            "min_size": 0,
            "max_size": 1,
            "acquire_timeout": 0.1,
            **failure.settings,
        }
    )
    return settings


@pytest.fixture
async def place(
    hasty: None,
    app: FastAPI,
    client: httpx.AsyncClient,
    variables: dict[str, str],
    observer: Connection,
    proxy: Proxy,
) -> AsyncIterator[Place]:
    pool = raw_pool(app)

    @asynccontextmanager
    async def hold() -> AsyncIterator[None]:
        async with pool.connection():
            yield

    await observer.execute(ROWS)
    url = variables["DATABASE_URL"]
    place = Place(url, observer, proxy, pool, NAME, "items", hold)
    yield place
    await place.close()


@pytest.mark.parametrize("failure", by_itself([*WITHOUT, *WITH], idempotent=True), ids=str)
async def test_a_read(failure: Failure[Any], place: Place, client: httpx.AsyncClient) -> None:
    await failure.make(place)
    place.watch("rows")
    answer = await client.get("/items/1")
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    assert await place.aftermath() == AT_REST


@pytest.mark.parametrize("failure", by_itself([WITHOUT[0], *WITH], idempotent=False), ids=str)
async def test_a_write(failure: Failure[Any], place: Place, client: httpx.AsyncClient) -> None:
    await failure.make(place)
    place.watch("connection")
    answer = await client.post("/items/batch", json=[{"name": "new", "value": 3}])
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    assert await place.aftermath() == AT_REST
    rows = await place.observer.fetchval("SELECT count(*) FROM items WHERE name = 'new'")
    assert rows == (failure.status == 200)


@pytest.mark.parametrize(
    "failure",
    [
        *by_itself(WITHIN, idempotent=True),
        Failure(unique_violation, asyncpg.UniqueViolationError, 500),
    ],
    ids=str,
)
async def test_a_transaction(
    failure: Failure[Any], place: Place, app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.post("/work")
    async def work(sql: Sql) -> None:
        async def unit(connection: PooledConnection) -> None:
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute("INSERT INTO items (name, value) VALUES ('work', '1')")
                if len(place.attempts) == 1:
                    await failure.make(place, connection.execute)

        await sql.run(unit, idempotent=True)

    place.watch("connection")
    answer = await client.post("/work")
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    is_replaced = sum(place.pool.stats().closed.values()) > 0
    assert is_replaced == (failure.error is OutcomeUnknown)
    assert await place.aftermath() == AT_REST
    rows = await place.observer.fetchval("SELECT count(*) FROM items WHERE name = 'work'")
    assert rows == (failure.status == 200)


@pytest.mark.parametrize("failure", [Failure(says_goodbye, None)], ids=str)
async def test_a_connection_that_ends_after_the_work_is_done(
    failure: Failure[Any], place: Place, app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.post("/work")
    async def work(sql: Sql) -> None:
        async with sql.connection() as connection:
            await connection.execute("INSERT INTO items (name, value) VALUES ('work', '1')")
            await failure.make(place)

    assert (await client.post("/work")).status_code == 200
    assert await place.aftermath() == AT_REST
    assert await place.observer.fetchval("SELECT count(*) FROM items WHERE name = 'work'") == 1
