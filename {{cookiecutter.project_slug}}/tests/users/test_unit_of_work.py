"""What a session costs, when its work is stored, and what is left when it is stopped."""

# Goes with the examples.

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI, Request
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import aliased

from app.databases import BaseReader, UnitOfWork
from app.main import create_app
from app.pools.postgres import Connection
from app.settings import Settings
from app.users.models import User
from tests.database.proxy import Proxy
from tests.users.conftest import primary
from tests.waiting import until

WRITERS = 10


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    settings = Settings()
    settings.primary.url = SecretStr(proxy.url)
    return settings


@pytest.fixture
async def refusing_commit(observer: Connection) -> AsyncIterator[None]:
    """The COMMIT of a user called 'refused' fails."""
    await observer.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.name = 'refused' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END IF;
            RETURN NEW;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    yield
    await observer.execute("DROP TRIGGER refuse ON users; DROP FUNCTION refuse()")


async def test_a_read_is_one_round_trip_and_a_unit_of_work_three(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    # The first of each kind prepares its statement.
    for number in range(2):
        before = proxy.round_trips
        await client.post("/users", json={"name": "x", "email": f"{number}@example.com"})
        unit_of_work, before = proxy.round_trips - before, proxy.round_trips
        await client.get("/users/1")
        read = proxy.round_trips - before
    assert (read, unit_of_work) == (1, 3)


async def test_a_reader_gives_columns_and_no_entities(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    reader = BaseReader(primary(app), app.state.retry, after=None)
    [(number,)] = await reader.all(select(func.count(User.id)))
    assert number == 0
    assert await reader.first(select(User.name, User.email)) is None
    for entity in (User, aliased(User)):
        with pytest.raises(TypeError, match="select those"):
            await reader.all(select(entity))


@pytest.mark.usefixtures("refusing_commit")
async def test_a_commit_that_fails_is_an_error_and_stores_nothing(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    answer = await client.post("/users", json={"name": "refused", "email": "r@example.com"})
    assert answer.status_code == 500
    assert await observer.fetchval("SELECT count(*) FROM users") == 0
    assert primary(app).stats().checked_out == 0
    answer = await client.post("/users", json={"name": "welcome", "email": "w@example.com"})
    assert answer.status_code == 201


async def test_a_reader_outside_sees_every_row_after_its_201(
    client: httpx.AsyncClient, proxy: Proxy, variables: dict[str, str]
) -> None:
    proxy.delay = 0.001
    missed: list[int] = []

    async def write_and_look(writer: int) -> None:
        outside = await asyncpg.connect(variables["DATABASE_URL"])
        for number in range(600 // WRITERS):
            new = {"name": "x", "email": f"{writer}-{number}@example.com"}
            answer = await client.post("/users", json=new)
            assert answer.status_code == 201
            user = answer.json()["id"]
            if not await outside.fetchval("SELECT true FROM users WHERE id = $1", user):
                missed.append(user)
        await outside.close()

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write_and_look(writer))
    assert missed == []


async def test_an_exception_rolls_the_work_back(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    @app.post("/half")
    async def half(session: UnitOfWork) -> None:
        await session.execute(text("INSERT INTO users (name, email) VALUES ('h', 'h')"))
        raise RuntimeError("half way")

    assert (await client.post("/half")).status_code == 500
    assert await observer.fetchval("SELECT count(*) FROM users") == 0
    assert primary(app).stats().checked_out == 0


async def test_cancelled_requests_leave_no_connection_in_use_and_no_row(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    @app.post("/slow")
    async def slow(session: UnitOfWork) -> None:
        await session.execute(text("INSERT INTO users (name, email) VALUES ('s', 's')"))
        await session.execute(text("SELECT pg_sleep(60)"))

    requests = [asyncio.create_task(client.post("/slow")) for _ in range(60)]
    pool = primary(app)
    await until(lambda: pool.stats().waiting == 40)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    await app.state.leftovers.settle(10)
    stats = pool.stats()
    assert (stats.checked_out, stats.waiting) == (0, 0)

    async def no_query_runs() -> bool:
        query = (
            "SELECT count(*) = 0 FROM pg_stat_activity "
            "WHERE query LIKE '%pg_sleep(60)' AND state = 'active'"
        )
        return bool(await observer.fetchval(query))

    await until(no_query_runs)
    assert await observer.fetchval("SELECT count(*) FROM users") == 0


async def test_a_statement_that_takes_too_long_is_stopped(
    settings: Settings, observer: Connection
) -> None:
    settings.primary.statement_timeout = 0.1
    settings.primary.lock_timeout = 0.05
    app = create_app(settings)

    @app.get("/slow")
    async def slow(request: Request) -> None:
        async with request.state.reader.engine.connect() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    @app.get("/locked")
    async def locked(session: UnitOfWork) -> None:
        await session.execute(text("LOCK TABLE users"))

    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/slow")).status_code == 504
            async with observer.transaction():
                await observer.execute("LOCK TABLE users")
                answer = await client.get("/locked")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert (await client.get("/users/1")).status_code == 404


async def test_a_session_that_was_left_cannot_be_used_again(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    left = []

    @app.get("/leave")
    async def leave(session: UnitOfWork) -> None:
        left.append(session)

    await client.get("/leave")
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await left[0].execute(text("SELECT 1"))
