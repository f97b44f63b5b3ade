"""Every failure is made on a real server: which are retried, what is answered, what is left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.databases import Writer
from app.pools.base import Refused
from app.pools.postgres import Connection
from app.settings import Settings
from tests.database.failures import AROUND, AT_REST, LASTING, WITHIN, Failure, Place, changed
from tests.database.proxy import Proxy
from tests.users.conftest import primary

NAME = "users-in-trouble"
ROWS = "INSERT INTO users (name, email) SELECT n, n FROM unnest('{1,2}'::text[]) AS n"


@pytest.fixture
def variables(variables: dict[str, str], own_server: str) -> dict[str, str]:
    """All on a server of its own: some failures ask for more rights than a guest has."""
    return variables | {"DATABASE_URL": own_server}


@pytest.fixture
def settings(proxy: Proxy, failure: Failure[Any]) -> Settings:
    settings = Settings(request_deadline=1 if failure in LASTING else 5)
    settings.primary = settings.primary.model_copy(
        update={
            "url": SecretStr(changed(proxy.url, **failure.url)),
            "application_name": NAME,
            "pool_size": 1,
            "pool_timeout": 0.2,
            **failure.settings,
        }
    )
    return settings


@pytest.fixture
async def place(
    app: FastAPI,
    client: httpx.AsyncClient,
    variables: dict[str, str],
    observer: Connection,
    proxy: Proxy,
) -> AsyncIterator[Place]:
    pool = primary(app)

    @asynccontextmanager
    async def hold() -> AsyncIterator[None]:
        async with pool.read_session() as session:
            await session.connection()
            yield

    await observer.execute(ROWS)
    url = variables["DATABASE_URL"]
    place = Place(url, observer, proxy, pool, NAME, "users", hold)
    yield place
    await place.undo.aclose()


@pytest.mark.parametrize("failure", AROUND, ids=str)
async def test_a_read(
    failure: Failure[Any],
    place: Place,
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await failure.make(place)
    monkeypatch.setattr(place.pool, "read_session", place.recorded(primary(app).read_session))
    answer = await client.get("/users/1")
    assert place.attempts == failure.attempts
    assert answer.status_code == failure.status
    assert await place.aftermath() == AT_REST


@pytest.mark.parametrize("failure", AROUND, ids=str)
async def test_a_write(
    failure: Failure[Any],
    place: Place,
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await failure.make(place)
    monkeypatch.setattr(place.pool, "unit_of_work", place.recorded(primary(app).unit_of_work))
    answer = await client.post("/users/1/visits")
    assert place.attempts == failure.attempts
    assert answer.status_code == failure.status
    assert await place.aftermath() == AT_REST
    visits = await place.observer.fetchval("SELECT visits FROM users WHERE id = 1")
    assert visits == (failure.status == 200)


@pytest.mark.parametrize("failure", WITHIN, ids=str)
async def test_a_unit_of_work(
    failure: Failure[Any],
    place: Place,
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
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

    monkeypatch.setattr(place.pool, "unit_of_work", place.recorded(primary(app).unit_of_work))
    answer = await client.post("/work")
    assert place.attempts == failure.attempts
    assert answer.status_code == failure.status
    assert await place.aftermath() == AT_REST
    rows = await place.observer.fetchval("SELECT count(*) FROM users WHERE name = 'work'")
    assert rows == (failure.status == 200)


@pytest.mark.parametrize("failure", LASTING, ids=str)
async def test_a_database_that_cannot_be_used(
    failure: Failure[Any],
    place: Place,
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await failure.make(place)
    taking = place.recorded(primary(app).read_session, passes=False)
    monkeypatch.setattr(place.pool, "read_session", taking)
    answer = await client.get("/users/1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert set(place.attempts) == {failure.error}
    # Who is refused asks no more; what may pass is tried until the time is up.
    assert (len(place.attempts) == 1) == (failure.error is Refused)
    assert primary(app).stats().checked_out == 0
