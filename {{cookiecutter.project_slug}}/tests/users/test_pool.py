"""The pool: bounded in number, in waiting and in closing; it replaces what is dead."""

# Goes with the examples.

import asyncio
import logging
from contextlib import AsyncExitStack
from time import monotonic

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI, Request
from pydantic import SecretStr
from sqlalchemy import text

from app.main import create_app
from app.pools.postgres import Connection
from app.settings import Settings
from tests.conftest import running
from tests.database.fixtures import Clock, connections_of, until_connections_of
from tests.database.proxy import Proxy
from tests.users.conftest import primary
from tests.waiting import cancelled_at_each_step, until

NAME = "pool-under-test"
POOL_TIMEOUT = 0.8


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    settings = Settings(request_deadline=2, shutdown_grace=2)
    settings.primary = settings.primary.model_copy(
        update={
            "url": SecretStr(proxy.url),
            "application_name": NAME,
            "pool_size": 2,
            "max_overflow": 1,
            "max_waiting": 2,
            "pool_timeout": POOL_TIMEOUT,
        }
    )
    return settings


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    app = create_app(settings)

    @app.get("/sleep/{seconds}")
    async def sleep(seconds: float, request: Request) -> None:
        async with request.state.writer.engine.connect() as session:
            await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})

    @app.get("/hold")
    async def hold(request: Request) -> None:
        async with request.state.writer.engine.connect():
            await app.state.is_over.wait()

    app.state.is_over = asyncio.Event()
    return app


async def test_more_than_the_pool_wait_then_time_out_and_more_than_may_wait_are_refused(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    pool = primary(app)
    checkouts, holds = (sum(times.counts) for times in (pool.stats().checkout, pool.stats().hold))
    running = [asyncio.create_task(client.get("/hold")) for _ in range(3)]
    await until(lambda: pool.stats().checked_out == 3)
    waiting = [asyncio.create_task(client.get("/users/1")) for _ in range(2)]
    await until(lambda: pool.stats().waiting == 2)
    refused = await client.get("/users/1")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "Too many requests are waiting; try again."
    assert pool.stats().waiting == 2
    for answer in await asyncio.gather(*waiting):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "No connection became free in time; try again."
    stats = pool.stats()
    assert (stats.size, stats.checked_out, stats.overflow, stats.waiting) == (3, 3, 1, 0)
    assert len(await connections_of(observer, NAME)) == 3
    app.state.is_over.set()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200] * 3
    stats = pool.stats()
    assert (stats.checked_out, stats.timeouts, stats.rejected) == (0, 2, 1)
    assert (stats.size, stats.idle, stats.overflow) == (2, 2, 0)
    assert sum(stats.checkout.counts) == checkouts + 3
    assert sum(stats.hold.counts) == holds + 3
    assert stats.hold.sum > 3 * POOL_TIMEOUT


async def test_the_pool_is_ready_while_it_is_busy(app: FastAPI, client: httpx.AsyncClient) -> None:
    running = [asyncio.create_task(client.get("/hold")) for _ in range(3)]
    await until(lambda: primary(app).stats().checked_out == 3)
    answer = await client.get("/health/ready")
    assert answer.json()["pools"]["primary"] == "up"
    assert not any(each.done() for each in running)
    app.state.is_over.set()
    await asyncio.gather(*running)


async def test_a_connection_that_died_while_it_was_idle_is_replaced_without_an_error(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    assert (await client.get("/sleep/0")).status_code == 200
    await observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
        NAME,
    )
    await until(lambda: primary(app).stats().size == 0)
    assert (await client.get("/sleep/0")).status_code == 200
    assert await connections_of(observer, NAME) == ["idle"]


async def test_a_connection_that_fell_silent_while_it_was_idle_is_replaced_in_bounded_time(
    settings: Settings, proxy: Proxy
) -> None:
    settings.primary.ping_after_idle = 0
    app = create_app(settings)
    async with LifespanManager(app):
        pool = primary(app)
        async with pool.engine.connect() as first, pool.engine.connect() as second:
            await first.execute(text("SELECT 1"))
            await second.execute(text("SELECT 1"))
        proxy.silence_open_connections()
        started = monotonic()
        async with pool.engine.connect() as session:
            assert await session.scalar(text("SELECT 1")) == 1
        assert 0.1 <= monotonic() - started < 1.5  # a ping has a tenth of the deadline
        stats = pool.stats()
        assert (stats.size, stats.closed) == (1, {"ping_failed": 1, "condemned": 1, "probe": 1})


async def test_a_connection_is_replaced_when_it_is_too_old(
    settings: Settings, observer: Connection
) -> None:
    app = create_app(settings)
    async with LifespanManager(app):
        pool = primary(app)
        async with pool.engine.connect() as session:
            first = await session.scalar(text("SELECT pg_backend_pid()"))
        [connection] = pool.connections._live
        assert 1620 <= connection.expires - monotonic() <= 1800  # a tenth by chance
        connection.expires = monotonic()
        async with pool.engine.connect() as session:
            assert await session.scalar(text("SELECT pg_backend_pid()")) != first
        assert pool.stats().closed == {"lifetime": 1}


async def test_whoever_is_cancelled_while_a_dead_connection_is_replaced_keeps_nothing(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy, observer: Connection
) -> None:
    pool = primary(app)

    async def use() -> None:
        async with pool.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def use_and_lose() -> None:
        await use()
        closed = sum(pool.stats().closed.values())
        proxy.cut()
        await until(lambda: sum(pool.stats().closed.values()) > closed)

    cancelled = await cancelled_at_each_step(use_and_lose, use)
    assert len(cancelled) > 5
    assert (pool.stats().checked_out, pool.stats().waiting) == (0, 0)
    await asyncio.gather(*(use() for _ in range(4)))  # every slot and one in the queue

    async def agree() -> bool:
        return pool.stats().size == len(await connections_of(observer, NAME))

    await until(agree)  # the server may have yet to notice that a client is gone


@pytest.mark.usefixtures("hasty")
async def test_with_the_server_silent_requests_end_at_the_deadline_and_it_heals(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy
) -> None:
    assert (await client.get("/users/1")).status_code == 404
    proxy.fall_silent()
    started = monotonic()
    answers = await asyncio.gather(*(client.get("/users/1") for _ in range(4)))
    # Closing the silent connections takes longer, and goes on behind the answers.
    assert monotonic() - started < 3
    assert {answer.status_code for answer in answers} <= {503, 504}
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).status_code == 503
    proxy.speak()

    async def heals() -> bool:
        return (await client.get("/users/1")).status_code == 404

    await until(heals)

    async def is_ready() -> bool:
        return (await client.get("/health/ready")).status_code == 200

    await until(is_ready)
    assert primary(app).stats().checked_out == 0


async def test_the_engine_can_be_disposed_of_while_it_is_in_use(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection
) -> None:
    pool = primary(app)
    running = asyncio.create_task(client.get("/sleep/0.3"))
    await until(lambda: pool.stats().checked_out == 1)
    await pool.engine.dispose()
    assert (await client.get("/users/1")).status_code == 404
    assert (await running).status_code == 200
    stats = pool.stats()
    assert stats.checked_out == 0
    await until_connections_of(observer, NAME, ["idle"] * stats.size)


async def test_closing_is_bounded_when_the_server_is_silent(
    app: FastAPI, proxy: Proxy, observer: Connection
) -> None:
    async with LifespanManager(app):
        async with primary(app).engine.connect() as session:
            await session.execute(text("SELECT 1"))
        proxy.fall_silent()
        started = monotonic()
    assert monotonic() - started < 1  # a fifth of SHUTDOWN_GRACE, and then it is terminated
    assert primary(app).stats().size == 0


async def test_closing_leaves_no_connection(app: FastAPI, observer: Connection) -> None:
    async with LifespanManager(app):
        async with primary(app).engine.connect() as session:
            await session.execute(text("SELECT 1"))
        assert await connections_of(observer, NAME) == ["idle"]
    await until_connections_of(observer, NAME, [])


async def test_the_session_on_the_server_is_set_up(app: FastAPI, client: httpx.AsyncClient) -> None:
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone"]
    async with primary(app).engine.connect() as session:
        values = [await session.scalar(text(f"SHOW {name}")) for name in names]
    assert values == ["1200ms", "800ms", "2s", "UTC"]


async def test_waits_and_holds_are_measured_as_they_are(
    clock: Clock, app: FastAPI, client: httpx.AsyncClient
) -> None:
    pool = primary(app)
    waited, held = pool.stats().checkout.sum, pool.stats().hold.sum
    are_given_back = asyncio.Event()

    async def use() -> None:
        async with pool.engine.connect() as taken:
            await taken.execute(text("SELECT 1"))
            await are_given_back.wait()
            clock.now += 2

    async with AsyncExitStack() as stack:
        for _ in range(3):
            taken = await stack.enter_async_context(pool.engine.connect())
            await taken.execute(text("SELECT 1"))
        waiting = asyncio.create_task(use())
        await until(lambda: pool.stats().waiting == 1)
        clock.now += 3
    are_given_back.set()
    await waiting
    assert pool.stats().checkout.sum - waited == pytest.approx(3)
    assert pool.stats().hold.sum - held == pytest.approx(3 * 3 + 2)


async def test_a_connection_that_is_kept_is_logged_once_and_counted(
    settings: Settings, observer: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    settings.primary.leak_threshold = 0.1
    app = create_app(settings)
    logging.getLogger().addHandler(caplog.handler)  # which the service has replaced
    async with running(app) as client:
        async with observer.transaction():
            await observer.execute("LOCK TABLE users")
            kept = asyncio.create_task(client.get("/users/1"))
            await until(lambda: primary(app).stats().leaks == 1)
            await asyncio.sleep(0.25)  # nothing more is to come, which cannot be awaited
        assert (await kept).status_code == 404
        assert (await client.get("/users/1")).status_code == 404
        assert primary(app).stats().leaks == 1
    [leak] = [
        record.msg
        for record in caplog.records
        if isinstance(record.msg, dict) and "held for too long" in record.msg["event"]
    ]
    assert leak["pool"] == "primary"
    assert leak["route"] == "/users/{user_id}"
    assert leak["seconds"] >= 0.1
    assert any("app/users/routes.py" in call for call in leak["taken_by"])
