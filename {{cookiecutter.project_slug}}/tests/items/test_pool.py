"""The pool: bounded in number, in waiting and in closing; its sessions are set up once."""

# Goes with the examples.

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from time import monotonic
from uuid import uuid4

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from pydantic import SecretStr

from app.main import create_app
from app.pools import asyncpg as asyncpg_pool
from app.pools.asyncpg import AsyncpgPool, is_harmless
from app.pools.postgres import Connection
from app.settings import Settings, load
from app.sql import Sql
from tests.conftest import running
from tests.database.fixtures import Clock, connections_of, until_connections_of
from tests.database.proxy import Proxy
from tests.items.conftest import raw_pool
from tests.waiting import cancelled_at_each_step, until

NAME = "raw-pool-under-test"


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    settings = Settings(request_deadline=2, shutdown_grace=2)
    settings.asyncpg = settings.asyncpg.model_copy(
        update={
            "url": SecretStr(proxy.url),
            "application_name": NAME,
            "min_size": 1,
            "max_size": 2,
            "max_waiting": 1,
            "acquire_timeout": 0.8,
        }
    )
    return settings


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    app = create_app(settings)

    @app.get("/sleep/{seconds}")
    async def sleep(seconds: float, sql: Sql) -> None:
        async with sql.connection() as connection:
            await connection.fetchval("SELECT pg_sleep($1)", seconds)

    @app.get("/hold")
    async def hold(sql: Sql) -> None:
        async with sql.connection():
            await app.state.is_over.wait()

    app.state.is_over = asyncio.Event()
    return app


async def test_more_than_the_pool_wait_then_time_out_and_more_than_may_wait_are_refused(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    pool = raw_pool(app)
    assert len(await connections_of(observer, NAME)) == 1
    running = [asyncio.create_task(client.get("/hold")) for _ in range(2)]
    await until(lambda: pool.stats().checked_out == 2)
    waiting = asyncio.create_task(client.get("/items/1"))
    await until(lambda: pool.stats().waiting == 1)
    refused = await client.get("/items/1")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "Too many requests are waiting; try again."
    late = await waiting
    assert late.json()["detail"] == "No connection became free in time; try again."
    app.state.is_over.set()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200] * 2
    stats = pool.stats()
    assert (stats.size, stats.checked_out, stats.idle, stats.waiting) == (2, 0, 2, 0)
    assert (stats.timeouts, stats.rejected) == (1, 1)
    assert len(await connections_of(observer, NAME)) == 2


async def test_a_read_is_one_round_trip(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy
) -> None:
    for _ in range(2):  # the first prepares the statement
        before = proxy.round_trips
        await client.get("/items/1")
    assert proxy.round_trips - before == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, name FROM items WHERE id = $1",
        'select items.*, items."name", i.id from items, items i where items.id in ($1)',
        "\n SELECT count(*), Max ( id ) FROM items WHERE id = any($1)",
    ],
)
def test_nothing_is_reset_after_a_select_that_can_change_nothing(query: str) -> None:
    assert is_harmless(query)


@pytest.fixture
async def treacherous_max(observer: Connection) -> AsyncIterator[None]:
    await observer.execute(
        "CREATE SCHEMA mine; CREATE FUNCTION mine.max(text, text, boolean) RETURNS text"
        " BEGIN ATOMIC SELECT set_config($1, $2, $3); END"
    )
    yield
    await observer.execute("DROP SCHEMA mine CASCADE")


@pytest.mark.usefixtures("treacherous_max")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT set_config('timezone', 'Asia/Tokyo', false)",
        "SELECT pg_advisory_lock(1)",
        "WITH it AS (SELECT pg_advisory_lock(1)) SELECT 1 FROM it",
        "SELECT (SELECT set_config('timezone', 'Asia/Tokyo', false))",
        "SELECT \"set_config\"('timezone', 'Asia/Tokyo', false)",
        "SELECT count(*), set_config/**/('timezone', 'Asia/Tokyo', false)",
        "SELECT mine.max('timezone', 'Asia/Tokyo', false)",
        "SELECT mine . max('timezone', 'Asia/Tokyo', false)",
        "SET timezone = 'Asia/Tokyo'",
        "LISTEN something",
        "LOAD 'plpgsql'",
    ],
)
async def test_what_a_read_leaves_in_its_session_is_gone(app: FastAPI, query: str) -> None:
    async with LifespanManager(app):
        pool = raw_pool(app)
        await pool.rows(query)
        async with pool.connection() as connection:
            assert await connection.fetchval("SHOW timezone") == "UTC"
            assert await connection.fetch("SELECT * FROM pg_listening_channels()") == []
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert await connection.fetchval(locks) == 0


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how long connections pass from read to read."""

    def stays(seconds: float) -> None:
        monkeypatch.setattr(asyncpg_pool, "AT_HAND", seconds)

    return stays


async def read(pool: AsyncpgPool, times: int = 2) -> None:
    """The first comes from the driver's pool and goes back there."""
    for _ in range(times):
        await pool.rows("SELECT id FROM items")


async def test_what_is_at_hand_is_idle_and_serves_whoever_comes_next(
    at_hand: Callable[[float], None], app: FastAPI, observer: Connection
) -> None:
    at_hand(60)
    async with LifespanManager(app):
        pool = raw_pool(app)
        driver = await pool._open()
        await read(pool)
        stats = pool.stats()
        assert (stats.size, stats.checked_out, stats.idle) == (1, 0, 1)
        assert driver.get_idle_size() == 0
        async with pool.connection():
            await read(pool)  # on another
            assert pool.stats().size == 2
        assert driver.get_idle_size() == 1
        await asyncio.gather(*(read(pool, 20) for _ in range(3)))
        assert (pool.stats().size, pool.stats().checked_out) == (2, 0)
    await until_connections_of(observer, NAME, [])


async def test_what_died_at_hand_is_replaced(
    at_hand: Callable[[float], None], app: FastAPI, proxy: Proxy
) -> None:
    at_hand(60)
    async with LifespanManager(app):
        pool = raw_pool(app)
        await read(pool)
        proxy.cut()
        await until(lambda: "lost" in pool.stats().closed)
        await read(pool)
        assert pool.stats().checked_out == 0


@pytest.mark.parametrize(
    ("setting", "value"), [("max_queries", 9), ("max_inactive_connection_lifetime", 0.1)]
)
async def test_what_was_at_hand_is_closed_as_any_other(
    at_hand: Callable[[float], None], settings: Settings, setting: str, value: float
) -> None:
    at_hand(0.1)
    settings.asyncpg.min_size = 0
    setattr(settings.asyncpg, setting, value)
    app = create_app(settings)
    async with LifespanManager(app):
        pool = raw_pool(app)
        await read(pool, 10)
        await until(lambda: pool.stats().closed == {"surplus": 1})


async def test_cancelled_requests_leave_no_connection_in_use(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    pool = raw_pool(app)
    for _ in range(20):
        requests = [asyncio.create_task(client.get("/sleep/60")) for _ in range(3)]
        await until(lambda: pool.stats().checked_out == 2 and pool.stats().waiting == 1)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        await app.state.leftovers.settle(10)
        stats = pool.stats()
        assert (stats.checked_out, stats.waiting) == (0, 0)
    assert (await client.get("/items/1")).status_code == 404


async def test_whoever_is_cancelled_while_a_dead_connection_is_replaced_keeps_nothing(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy, observer: Connection
) -> None:
    pool = raw_pool(app)

    async def use() -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")

    async def use_and_lose() -> None:
        await use()
        closed = sum(pool.stats().closed.values())
        proxy.cut()
        await until(lambda: sum(pool.stats().closed.values()) > closed)

    cancelled = await cancelled_at_each_step(use_and_lose, use)
    assert len(cancelled) > 5
    assert (pool.stats().checked_out, pool.stats().waiting) == (0, 0)
    await asyncio.gather(*(use() for _ in range(3)))  # every slot and one in the queue

    async def agree() -> bool:
        return pool.stats().size == len(await connections_of(observer, NAME))

    await until(agree)  # the server may have yet to notice that a client is gone


@pytest.mark.usefixtures("hasty")
async def test_with_the_server_silent_requests_end_at_the_deadline_and_it_heals(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy
) -> None:
    assert (await client.get("/items/1")).status_code == 404
    proxy.fall_silent()
    started = monotonic()
    answers = await asyncio.gather(*(client.get("/items/1") for _ in range(3)))
    # Closing the silent connections takes longer, and goes on behind the answers.
    assert monotonic() - started < 3
    assert {answer.status_code for answer in answers} <= {503, 504}
    assert (await client.get("/health/ready")).status_code == 503
    proxy.speak()

    async def heals() -> bool:
        return (await client.get("/items/1")).status_code == 404

    await until(heals)
    await app.state.leftovers.settle(10)
    assert raw_pool(app).stats().checked_out == 0


async def test_closing_is_bounded_and_leaves_no_connection(
    app: FastAPI, proxy: Proxy, observer: Connection
) -> None:
    async with LifespanManager(app):
        assert await connections_of(observer, NAME) == ["idle"]
        proxy.fall_silent()
        started = monotonic()
    assert monotonic() - started < 1  # a fifth of SHUTDOWN_GRACE, and then it is terminated
    assert raw_pool(app).stats().size == 0


def test_more_than_the_largest_number_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCPG__MIN_SIZE", "30")
    with pytest.raises(SystemExit) as refusal:
        load()
    assert refusal.value.code == (
        "ASYNCPG MIN_SIZE (30) has to be at most MAX_SIZE (20): lower MIN_SIZE or raise MAX_SIZE."
    )


async def test_a_connection_is_replaced_when_it_is_too_old(app: FastAPI) -> None:
    async with LifespanManager(app):
        pool = raw_pool(app)
        [old] = pool.connections._live
        assert 1620 <= old.expires - monotonic() <= 1800  # a tenth by chance
        old.expires = monotonic()
        async with pool.connection() as connection:
            assert connection.get_server_pid() != old.get_server_pid()
        assert pool.stats().closed == {"lifetime": 1}


async def test_a_connection_that_fell_silent_while_it_was_idle_is_replaced_in_bounded_time(
    settings: Settings, proxy: Proxy
) -> None:
    settings.asyncpg.ping_after_idle = 0
    settings.asyncpg.min_size = 2
    app = create_app(settings)
    async with LifespanManager(app):
        pool = raw_pool(app)
        proxy.silence_open_connections()
        started = monotonic()
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert 0.1 <= monotonic() - started < 1  # a ping has a tenth of the deadline
        assert pool.stats().closed == {"ping_failed": 1, "condemned": 1, "probe": 1}


async def test_what_a_handler_leaves_in_its_session_does_not_outlast_reads(app: FastAPI) -> None:
    async with LifespanManager(app):
        pool = raw_pool(app)
        for _ in range(2):
            await pool.rows("SELECT 1")
            async with pool.connection() as connection:
                assert await connection.fetchval("SHOW timezone") == "UTC"
                await connection.execute("SET timezone = 'Asia/Tokyo'")


async def test_values_of_the_session_and_of_types(app: FastAPI) -> None:
    async with LifespanManager(app):
        pool = raw_pool(app)
        for _ in range(2):  # the second time after a reset
            async with pool.connection() as connection:
                assert await connection.fetchval("SHOW statement_timeout") == "1200ms"
                assert await connection.fetchval("SHOW timezone") == "UTC"
                await connection.execute("SET statement_timeout = 1")
        async with pool.connection() as connection:
            for value in ({"a": [1, None]}, [1, "x"], "text", 1.5, True):
                for json in ("json", "jsonb"):
                    assert await connection.fetchval(f"SELECT $1::{json}", value) == value
            key = uuid4()
            assert await connection.fetchval("SELECT $1::uuid", key) == key
            moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
            read = await connection.fetchval("SELECT $1::timestamptz", moment)
            assert read == moment
            assert read.utcoffset() == timedelta(0)


async def test_waits_and_holds_are_measured_as_they_are(
    clock: Clock, app: FastAPI, client: httpx.AsyncClient
) -> None:
    pool = raw_pool(app)
    waited, held = pool.stats().checkout.sum, pool.stats().hold.sum
    are_given_back = asyncio.Event()

    async def use() -> None:
        async with pool.connection() as taken:
            await taken.execute("SELECT 1")
            await are_given_back.wait()
            clock.now += 2

    async with AsyncExitStack() as stack:
        for _ in range(2):
            taken = await stack.enter_async_context(pool.connection())
            await taken.execute("SELECT 1")
        waiting = asyncio.create_task(use())
        await until(lambda: pool.stats().waiting == 1)
        clock.now += 3
    are_given_back.set()
    await waiting
    assert pool.stats().checkout.sum - waited == pytest.approx(3)
    assert pool.stats().hold.sum - held == pytest.approx(2 * 3 + 2)


async def test_a_connection_that_is_kept_is_logged_once_and_counted(
    settings: Settings, observer: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    settings.asyncpg.leak_threshold = 0.1
    app = create_app(settings)
    logging.getLogger().addHandler(caplog.handler)  # which the service has replaced
    async with running(app) as client:
        async with observer.transaction():
            await observer.execute("LOCK TABLE items")
            kept = asyncio.create_task(client.get("/items/1"))
            await until(lambda: raw_pool(app).stats().leaks == 1)
            await asyncio.sleep(0.25)  # nothing more is to come, which cannot be awaited
        assert (await kept).status_code == 404
        assert (await client.get("/items/1")).status_code == 404
        assert raw_pool(app).stats().leaks == 1
    [leak] = [
        record.msg
        for record in caplog.records
        if isinstance(record.msg, dict) and "held for too long" in record.msg["event"]
    ]
    assert leak["pool"] == "asyncpg"
    assert leak["route"] == "/items/{item_id}"
    assert leak["seconds"] >= 0.1
    assert any("app/items/routes.py" in call for call in leak["taken_by"])
