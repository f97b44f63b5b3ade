"""Failures made on a real server, and what the service is to make of each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

import asyncpg

from app.pools.base import (
    Conflict,
    Contended,
    NotConnected,
    Pool,
    PoolError,
    PoolFull,
    PoolTimeout,
    Refused,
    TimedOut,
    Unavailable,
)
from app.pools.postgres import Connection, DatabaseStats
from tests.database.fixtures import connections_of
from tests.database.proxy import Proxy
from tests.database.servers import directory_of
from tests.waiting import until

P = ParamSpec("P")
T = TypeVar("T")
Make = TypeVar("Make", bound=Callable[..., Awaitable[None]])

Execute = Callable[[str], Awaitable[object]]

# What is left of a failure that passed: the one connection, idle, for the pool and for the server.
AT_REST = {"size": 1, "checked_out": 0, "idle": 1, "waiting": 0, "on_server": ["idle"]}


class DatabasePool(Pool, Protocol):
    def stats(self) -> DatabaseStats: ...


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
    """Puts everything right again."""
    attempts: list[type[Exception] | None] = field(default_factory=list)
    """What each attempt at the unit of work ended with, None for success."""

    def recorded(
        self, take: Callable[P, AbstractAsyncContextManager[T]], *, passes: bool = True
    ) -> Callable[P, AbstractAsyncContextManager[T]]:
        """What a unit of work begins with, with a record of it.

        A failure that passes is over when the work is begun a second time.
        """

        @asynccontextmanager
        async def recording(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            if self.attempts and passes:
                await self.undo.aclose()
            self.attempts.append(None)
            try:
                async with take(*args, **kwargs) as taken:
                    yield taken
            except Exception as error:
                self.attempts[-1] = type(error)
                raise

        return recording

    async def lose_connections(self) -> None:
        """Leave the pool without an open connection, as it is before the first."""
        self.proxy.cut()
        await until(lambda: self.pool.stats().size == 0)

    async def aftermath(self) -> dict[str, Any]:
        """What is left, as the pool says and as the server says, once the pool was used again."""
        await self.undo.aclose()
        # It would not pass if the slot or the connection were still taken.
        await self.pool.ping()

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
    """A failure and its outcome; with the status 200 it is a passing one, which is retried."""

    make: Make
    error: type[PoolError]
    status: int = 200
    settings: Mapping[str, Any] = field(default_factory=dict)
    url: Mapping[str, str] = field(default_factory=dict)
    """What differs from the proxy's."""

    def __str__(self) -> str:
        return f"{self.make.__name__}-{self.error.__name__}"

    @property
    def attempts(self) -> list[type[Exception] | None]:
        return [self.error, None] if self.status == 200 else [self.error]


def changed(
    url: str, role: str = "postgres", host: str = "127.0.0.1", database: str = "postgres"
) -> str:
    """The URL of a proxy, for another role, host or database."""
    parts = urlsplit(url)
    netloc = f"{role}:wrong@{host}:{parts.port}"
    return parts._replace(netloc=netloc, path=f"/{database}").geturl()


async def refuses(place: Place) -> None:
    place.proxy.go_away()
    place.undo.push_async_callback(place.proxy.come_back)


async def accepts_and_says_nothing(place: Place) -> None:
    await place.lose_connections()
    place.proxy.fall_silent()
    place.undo.callback(place.proxy.speak)


async def killed_while_idle(place: Place) -> None:
    """The service learns of it when it uses the connection, and no earlier."""
    await place.pool.ping()
    place.proxy.silence_open_connections()
    await place.observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
        place.application_name,
    )

    async def speak_when_spoken_to() -> None:
        await until(lambda: place.proxy.held > 0)
        place.proxy.speak()

    task = asyncio.create_task(speak_when_spoken_to())
    place.undo.push_async_callback(asyncio.wait_for, task, None)


async def falls_silent(place: Place) -> None:
    await place.pool.ping()
    place.proxy.silence_open_connections()
    place.undo.callback(place.proxy.speak)


async def is_locked(place: Place) -> None:
    lock = place.observer.transaction()
    await lock.start()
    await place.observer.execute(f"LOCK TABLE {place.table}")
    place.undo.push_async_callback(lock.rollback)


async def lets_nobody_else_in(place: Place) -> None:
    await place.lose_connections()
    await place.observer.execute(
        "DROP ROLE IF EXISTS crowded; CREATE ROLE crowded LOGIN CONNECTION LIMIT 0"
    )
    place.undo.push_async_callback(place.observer.execute, "ALTER ROLE crowded CONNECTION LIMIT -1")


async def all_connections_out(place: Place) -> None:
    await place.undo.enter_async_context(place.hold())


# In force before the work begins, until it begins again.
AROUND = [
    Failure(refuses, NotConnected),
    Failure(accepts_and_says_nothing, NotConnected, settings={"connect_timeout": 0.2}),
    Failure(killed_while_idle, Unavailable),
    Failure(falls_silent, TimedOut, 504, {"command_timeout": 0.2}),
    Failure(is_locked, Contended, 503, {"lock_timeout": 0.1}),  # 55P03
    Failure(lets_nobody_else_in, Contended, 503, url={"role": "crowded"}),  # 53300
    Failure(all_connections_out, PoolTimeout, 503),
    Failure(all_connections_out, PoolFull, 503, {"max_waiting": 0}),
]


async def has_no_address(place: Place) -> None:
    """The URL sees to it, as in the next two."""


async def has_no_such_role(place: Place) -> None:
    pass


async def has_no_such_database(place: Place) -> None:
    pass


async def wants_another_password(place: Place) -> None:
    await place.observer.execute(
        "DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'right'"
    )
    rules = directory_of(place.url) / "pg_hba.conf"
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    await place.observer.execute("SELECT pg_reload_conf()")

    async def is_in_force() -> bool:
        try:
            connection = await asyncpg.connect(changed(place.proxy.url, "guarded"))
        except asyncpg.InvalidPasswordError:
            return True
        connection.terminate()
        return False

    await until(is_in_force)


# In force for good.
LASTING = [
    Failure(refuses, NotConnected, 503),
    Failure(has_no_address, NotConnected, 503, url={"host": "nowhere.invalid"}),
    Failure(has_no_such_role, Refused, 503, url={"role": "nobody"}),  # 28000
    Failure(wants_another_password, Refused, 503, url={"role": "guarded"}),  # 28P01
    Failure(has_no_such_database, Refused, 503, url={"database": "nowhere"}),  # 3D000
]


async def terminated(place: Place, execute: Execute) -> None:
    await execute("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)")


async def idle_for_too_long(place: Place, execute: Execute) -> None:
    await execute("SET LOCAL idle_in_transaction_session_timeout = 1")

    async def is_gone() -> bool:
        return not await connections_of(place.observer, place.application_name)

    await until(is_gone)
    await execute("SELECT 1")


async def serialization_failure(place: Place, execute: Execute) -> None:
    await place.observer.execute(place.updating(1))
    await execute(place.updating(1))


async def deadlock(place: Place, execute: Execute) -> None:
    other = await asyncpg.connect(place.url)
    place.undo.callback(other.terminate)
    await execute(place.updating(1))
    await other.execute(f"BEGIN; {place.updating(2)}")
    waiting = asyncio.create_task(other.execute(place.updating(1)))
    place.undo.push_async_callback(asyncio.wait_for, waiting, None)

    async def waits() -> bool:
        query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
        return bool(await place.observer.fetchval(query, other.get_server_pid()) == "Lock")

    await until(waits)
    # Whoever looks first is the one that gives up.
    await execute("SET LOCAL deadlock_timeout = 1")
    await execute(place.updating(2))


async def statement_timeout(place: Place, execute: Execute) -> None:
    await execute("SELECT pg_sleep(60)")


async def read_only(place: Place, execute: Execute) -> None:
    await execute("SET TRANSACTION READ ONLY")
    await execute(place.updating(1))


# Made by the work itself, in a transaction that is REPEATABLE READ and has written before.
WITHIN = [
    Failure(terminated, Unavailable),  # 57P01
    Failure(idle_for_too_long, Unavailable),  # 25P03
    Failure(serialization_failure, Conflict),  # 40001
    Failure(deadlock, Conflict),  # 40P01
    Failure(read_only, Unavailable),  # 25006
    Failure(statement_timeout, TimedOut, 504, {"lock_timeout": 0.05, "statement_timeout": 0.1}),
]
