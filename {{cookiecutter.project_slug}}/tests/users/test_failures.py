"""Every failure is made on a real server: which are retried, what is answered, what is left."""

# Goes with the examples.

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.databases import Writer
from app.pools.base import Unavailable
from app.pools.postgres import Connection
from app.retry import RetrySettings
from app.settings import Settings
from tests.database.failures import (
    AT_REST,
    WITH,
    WITHIN,
    WITHOUT,
    Failure,
    Place,
    changed,
    unique_violation,
)
from tests.database.proxy import Proxy
from tests.users.conftest import primary

NAME = "users-in-trouble"
ROWS = "INSERT INTO users (name, email) SELECT n, n FROM unnest('{1,2}'::text[]) AS n"


@pytest.fixture
def settings(proxy: Proxy, failure: Failure[Any]) -> Settings:
    settings = Settings(retry=RetrySettings(base_delay=0.01))
    settings.primary = settings.primary.model_copy(
        update={
            "url": SecretStr(changed(proxy.url, **failure.url)),
            "application_name": NAME,
            "pool_size": 1,
            "pool_timeout": 0.1,
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
    pool = primary(app)

    @asynccontextmanager
    async def hold() -> AsyncIterator[None]:
        async with pool.engine.connect():
            yield

    await observer.execute(ROWS)
    url = variables["DATABASE_URL"]
    place = Place(url, observer, proxy, pool, NAME, "users", hold)
    yield place
    await place.close()


@pytest.mark.parametrize("failure", [*WITHOUT, *WITH], ids=str)
async def test_a_read(failure: Failure[Any], place: Place, client: httpx.AsyncClient) -> None:
    await failure.make(place)
    place.watch("rows")
    answer = await client.get("/users/1")
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    assert await place.aftermath() == AT_REST


@pytest.mark.parametrize("failure", [WITHOUT[0], *WITH], ids=str)
async def test_a_write(failure: Failure[Any], place: Place, client: httpx.AsyncClient) -> None:
    await failure.make(place)
    place.watch("unit_of_work")
    answer = await client.post("/users/1/visits")
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    assert await place.aftermath() == AT_REST
    visits = await place.observer.fetchval("SELECT visits FROM users WHERE id = 1")
    assert visits == (failure.status == 200)


@pytest.mark.parametrize(
    "failure", [*WITHIN, Failure(unique_violation, IntegrityError, 500)], ids=str
)
async def test_a_unit_of_work(
    failure: Failure[Any], place: Place, app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.post("/work")
    async def work(writer: Writer) -> None:
        async def unit(session: AsyncSession) -> None:
            async def execute(statement: str) -> object:
                return await session.execute(text(statement))

            await execute("INSERT INTO users (name, email) VALUES ('work', 'work')")
            if len(place.attempts) == 1:
                await failure.make(place, execute)

        await writer.run(unit, isolation="REPEATABLE READ")

    place.watch("unit_of_work")
    answer = await client.post("/work")
    assert place.attempts == failure.attempts
    assert (answer.status_code, answer.headers.get("retry-after")) == failure.answer
    is_replaced = sum(place.pool.stats().closed.values()) > 0
    assert is_replaced == (failure.error is Unavailable)
    assert await place.aftermath() == AT_REST
    rows = await place.observer.fetchval("SELECT count(*) FROM users WHERE name = 'work'")
    assert rows == (failure.status == 200)
