"""Failures made on a real server, and what the service is to make of each."""

# Goes with the examples.

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.pools.base import (
    Conflict,
    Contended,
    NotConnected,
    PoolError,
    PoolFull,
    PoolTimeout,
    Silent,
    TimedOut,
    Unavailable,
)
from app.pools.postgres import Connection
from tests.database.fixtures import connections_of
from tests.database.load import DatabasePool
from tests.database.proxy import Proxy
from tests.waiting import until

Make = TypeVar("Make", bound=Callable[..., Awaitable[None]])

Execute = Callable[[str], Awaitable[object]]

# What is left of a failure that passed: the one connection, idle, for the pool and for the server.
AT_REST = {"size": 1, "checked_out": 0, "idle": 1, "waiting": 0, "on_server": ["idle"]}


@dataclass
class Place:
    """Where failures are made: a pool of one connection, behind a proxy."""

    url: str
    """The server itself."""
    observer: Connection
    proxy: Proxy
    pool: DatabasePool
    application_name: str
    table: str
    """Has the rows 1 and 2."""
    hold: Callable[[], AbstractAsyncContextManager[None]]
    """Keeps a connection of the pool."""
    undo: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Puts right again what failed."""
    end: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Leaves the server as it was."""
    attempts: list[type[Exception] | None] = field(default_factory=list)
    """What each attempt at the unit of work ended with, None for success."""

    def watch(self, method: str) -> None:
        """Record the attempts, which all begin with this method of the pool.

        The failure is over when the second begins.
        """
        take = getattr(self.pool, method)

        @asynccontextmanager
        async def attempt() -> AsyncIterator[None]:
            if self.attempts:
                await self.undo.aclose()
            self.attempts.append(None)
            try:
                yield
            except Exception as error:
                self.attempts[-1] = type(error)
                raise

        @asynccontextmanager
        async def taken(*args: object, **options: object) -> AsyncIterator[object]:
            async with attempt(), take(*args, **options) as it:
                yield it

        async def called(*args: object, **options: object) -> object:
            async with attempt():
                return await take(*args, **options)

        setattr(self.pool, method, called if iscoroutinefunction(take) else taken)

    async def close(self) -> None:
        await self.undo.aclose()
        await self.end.aclose()

    async def is_gone(self) -> bool:
        """Whether the server has no connection of the pool any more."""
        return not await connections_of(self.observer, self.application_name)

    async def terminate(self) -> None:
        """End the pool's connections on the server."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
        await self.observer.execute(query, self.application_name)
        await until(self.is_gone)

    async def lose_connections(self) -> None:
        """Leave the pool without an open connection, as it is before the first."""
        self.proxy.cut()
        await until(lambda: self.pool.stats().size == 0)

    async def need_a_superuser(self) -> None:
        query = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        if not await self.observer.fetchval(query):
            pytest.skip("the role of DATABASE_URL is not a superuser")

    async def aftermath(self) -> dict[str, Any]:
        """What is left, as the pool says and as the server says, once the pool was used again."""
        await self.undo.aclose()

        async def is_of_use() -> bool:
            """It would not be if the slot or the connection were still taken."""
            with suppress(PoolError):
                await self.pool.ping()
                return True
            return False

        await until(is_of_use)

        async def agree() -> bool:
            on_server = await connections_of(self.observer, self.application_name)
            return self.pool.stats().size == len(on_server)

        await until(agree)  # the server may have yet to notice that a client is gone
        stats = self.pool.stats()
        on_server = await connections_of(self.observer, self.application_name)
        return {name: getattr(stats, name) for name in AT_REST if name != "on_server"} | {
            "on_server": on_server
        }

    def updating(self, row: int) -> str:
        return f"UPDATE {self.table} SET name = name WHERE id = {row}"


@dataclass(frozen=True)
class Failure(Generic[Make]):
    """A failure and its outcome: 200 if it is a passing one, which is retried."""

    make: Make
    error: type[Exception] | None
    """What the first attempt ends with, None when it succeeds all the same."""
    status: int = 200
    settings: Mapping[str, Any] = field(default_factory=dict)
    url: Mapping[str, str] = field(default_factory=dict)
    """What differs from the proxy's."""

    def __str__(self) -> str:
        return f"{self.make.__name__}-{self.error.__name__ if self.error else 'unnoticed'}"

    @property
    def answer(self) -> tuple[int, str | None]:
        """The status, and when to try again."""
        return self.status, "1" if self.status == 503 else None

    @property
    def attempts(self) -> list[type[Exception] | None]:
        is_retried = self.status == 200 and self.error is not None
        return [self.error, None] if is_retried else [self.error]


def changed(url: str, *, role: str = "", host: str = "", database: str = "") -> str:
    """The URL with another role (whose password is its name), host or database."""
    parts = urlsplit(url)
    who, _, where = parts.netloc.rpartition("@")
    who = f"{role}:{role}" if role else who
    where = f"{host}:{parts.port}" if host else where
    netloc = f"{who}@{where}" if who else where
    return parts._replace(netloc=netloc, path=f"/{database}" if database else parts.path).geturl()


async def refuses(place: Place) -> None:
    place.proxy.go_away()
    place.undo.push_async_callback(place.proxy.come_back)
    await until(lambda: place.pool.stats().size == 0)


async def restarts(place: Place) -> None:
    """The server is away, and back while the work waits for it."""
    await refuses(place)
    come_back = place.undo.pop_all()

    def refused() -> int:
        return place.pool.stats().errors.get("NotConnected", 0)

    async def come_back_in_time() -> None:
        asked = refused()
        await until(lambda: refused() > asked + 1)
        await come_back.aclose()

    task = asyncio.create_task(come_back_in_time())
    place.undo.push_async_callback(asyncio.gather, task)


async def has_no_address(place: Place) -> None:
    """The URL names a host that no name server knows, until one does."""
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def find(host: str, *args: Any, **kwargs: Any) -> Any:
        return await look_up("127.0.0.1" if host == "nowhere.invalid" else host, *args, **kwargs)

    place.undo.callback(setattr, loop, "getaddrinfo", find)


async def accepts_and_says_nothing(place: Place) -> None:
    await place.lose_connections()
    place.proxy.fall_silent()
    place.undo.callback(place.proxy.speak)


async def lets_nobody_else_in(place: Place) -> None:
    await place.need_a_superuser()
    await place.observer.execute(
        "DROP ROLE IF EXISTS crowded;"  # of a run that was killed
        "CREATE ROLE crowded LOGIN PASSWORD 'crowded' CONNECTION LIMIT 0"
    )
    place.end.push_async_callback(place.observer.execute, "DROP ROLE crowded")
    await until(lambda: "Contended" in place.pool.stats().errors)
    place.undo.push_async_callback(place.observer.execute, "ALTER ROLE crowded CONNECTION LIMIT 1")


async def is_locked(place: Place) -> None:
    lock = place.observer.transaction()
    await lock.start()
    await place.observer.execute(f"LOCK TABLE {place.table}")
    place.undo.push_async_callback(lock.rollback)


async def all_connections_out(place: Place) -> None:
    await place.undo.enter_async_context(place.hold())


async def killed_while_idle(place: Place) -> None:
    """The service learns of it when it uses the connection, and no earlier."""
    await place.pool.ping()
    place.proxy.silence_open_connections()
    await place.terminate()

    async def speak_when_spoken_to() -> None:
        await until(lambda: place.proxy.held > 0)
        place.proxy.speak()

    task = asyncio.create_task(speak_when_spoken_to())
    place.undo.push_async_callback(asyncio.gather, task)


async def says_goodbye(place: Place) -> None:
    """The service has read why the connection ends, and not yet that it has ended."""
    await place.pool.ping()
    place.proxy.hides_hang_ups = True
    place.undo.callback(setattr, place.proxy, "hides_hang_ups", False)
    await place.terminate()
    for _ in range(10):  # turns of the event loop, for the proxy and the driver
        await asyncio.sleep(0)


async def falls_silent(place: Place) -> None:
    await place.pool.ping()
    place.proxy.silence_open_connections()
    place.undo.callback(place.proxy.speak)


# In force before the work begins, and passing ones until it begins again. No connection is had:
WITHOUT = [
    Failure(restarts, None),
    Failure(refuses, NotConnected, 503, {"command_timeout": 0.2}),
    Failure(has_no_address, NotConnected, 503, url={"host": "nowhere.invalid"}),
    Failure(accepts_and_says_nothing, Silent, 503, {"connect_timeout": 0.2}),
    Failure(lets_nobody_else_in, Contended, 503, url={"role": "crowded"}),  # 53300
    Failure(is_locked, Contended, 503, {"lock_timeout": 0.1}),  # 55P03
    Failure(all_connections_out, PoolTimeout, 503),
    Failure(all_connections_out, PoolFull, 503, {"max_waiting": 0}),
]
# Or the one that is there is of no use:
WITH = [
    Failure(killed_while_idle, Unavailable),
    Failure(says_goodbye, Unavailable),
    Failure(says_goodbye, None, settings={"ping_after_idle": 0}),
    Failure(falls_silent, TimedOut, 504, {"command_timeout": 0.2}),
]


async def terminated(place: Place, execute: Execute) -> None:
    await execute("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)")


async def idle_for_too_long(place: Place, execute: Execute) -> None:
    await execute("SET LOCAL idle_in_transaction_session_timeout = 1")
    await until(place.is_gone)
    await execute("SELECT 1")


async def serialization_failure(place: Place, execute: Execute) -> None:
    await place.observer.execute(place.updating(1))
    await execute(place.updating(1))


async def deadlock(place: Place, execute: Execute) -> None:
    await place.need_a_superuser()
    other = await asyncpg.connect(place.url)
    place.undo.callback(other.terminate)
    await execute(place.updating(1))
    await other.execute(f"BEGIN; {place.updating(2)}")
    waiting = asyncio.create_task(other.execute(place.updating(1)))
    place.undo.push_async_callback(asyncio.gather, waiting)

    async def waits() -> bool:
        query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
        return bool(await place.observer.fetchval(query, other.get_server_pid()) == "Lock")

    await until(waits)
    # Whoever looks first is the one that gives up.
    await execute("SET LOCAL deadlock_timeout = 1")
    await execute(place.updating(2))


async def read_only(place: Place, execute: Execute) -> None:
    await execute("SET TRANSACTION READ ONLY")
    await execute(place.updating(1))


async def statement_timeout(place: Place, execute: Execute) -> None:
    await execute("SELECT pg_sleep(60)")


async def unique_violation(place: Place, execute: Execute) -> None:
    """No affair of the pool's: each driver has its own error."""
    await execute(f"INSERT INTO {place.table} SELECT * FROM {place.table} WHERE id = 1")


# Made by the work itself, in a transaction that is REPEATABLE READ and has written before.
WITHIN = [
    Failure(terminated, Unavailable),  # 57P01
    Failure(idle_for_too_long, Unavailable),  # 25P03
    Failure(serialization_failure, Conflict),  # 40001
    Failure(deadlock, Conflict),  # 40P01
    Failure(read_only, Unavailable),  # 25006
    Failure(statement_timeout, TimedOut, 504, {"lock_timeout": 0.05, "statement_timeout": 0.1}),
]
