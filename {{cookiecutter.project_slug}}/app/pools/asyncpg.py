"""The raw asyncpg pool: connections with JSON codecs, acquired in bounded time."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import asyncpg
import structlog
from pydantic import Field, model_validator

from app.pools import postgres
from app.pools.base import Durations, OutcomeUnknown, Pool, PoolError, Service, Slots, Unavailable
from app.pools.holds import Holds, note_taker
from app.pools.postgres import (
    DRIVER_ERRORS,
    SERVER,
    Connections,
    DatabaseSettings,
    DatabaseStats,
    Seconds,
    TrackedConnection,
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    # What the pool hands out has all methods of a connection.
    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    DriverPool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    PooledConnection = DriverPool = object

log = structlog.get_logger(__name__)

# Seconds in which a connection may pass from read to read, without the driver's pool in between.
AT_HAND = 1

# One SELECT that calls no function but these: nothing that it could change stays in a session.
# Whatever is not understood, such as a parenthesis within a string, is no such statement.
HARMLESS = re.compile(
    r"\s*select\b"
    r"([^(;.]|\.(?=[\w\"*])|(?<!\.)\b(all|any|avg|coalesce|count|exists|in|max|min|sum)\s*\()*",
    re.IGNORECASE,
)


@lru_cache
def is_harmless(query: str) -> bool:
    return HARMLESS.fullmatch(query) is not None


class AsyncpgSettings(DatabaseSettings):
    """The raw asyncpg pool."""

    min_size: int = Field(
        10,
        ge=0,
        description="Connections that are opened at start and kept, per worker: half of the "
        "largest number, so that a burst finds them open.",
    )
    max_size: int = Field(
        20,
        ge=1,
        description="The largest number of connections, per worker.",
    )
    acquire_timeout: Seconds | None = Field(
        None,
        description="Seconds to wait for a connection. Default: 0.4 of `REQUEST_DEADLINE`, so that "
        "a query still fits in after it.",
    )
    max_lifetime: Seconds = Field(
        1800,
        description="Seconds after which a connection is replaced when next used, less up to a "
        "tenth by chance. Half an hour is below the idle limits of firewalls and proxies.",
    )
    max_inactive_connection_lifetime: float = Field(
        300,
        ge=0,
        description="Seconds after which an idle connection beyond the smallest number is closed; "
        "0 keeps all. Five minutes outlast a lull and give a burst's connections back.",
    )
    max_queries: int = Field(
        50000,
        ge=1,
        description="Queries after which a connection is replaced, which frees what the server "
        "has cached for it.",
    )

    @property
    def wait_timeout(self) -> float | None:
        return self.acquire_timeout

    @property
    def lifetime(self) -> float:
        return self.max_lifetime

    @model_validator(mode="after")
    def sizes_are_in_order(self) -> "AsyncpgSettings":
        if self.min_size > self.max_size:
            raise ValueError(
                f"MIN_SIZE ({self.min_size}) has to be at most MAX_SIZE ({self.max_size}): "
                "lower MIN_SIZE or raise MAX_SIZE"
            )
        return self

    def open(
        self, name: str, service: Service, opened: Mapping[str, Pool]
    ) -> AbstractAsyncContextManager[Pool]:
        return open_pool(AsyncpgPool(name, self, service, opened))


class Taken(NamedTuple):
    """A connection that is out, once for each time."""

    connection: PooledConnection
    """The driver's proxy, which is of no use any more once it is given back."""
    tracked: TrackedConnection
    at: float


class AsyncpgPool:
    """An open pool, which hands out connections."""

    def __init__(
        self, name: str, settings: AsyncpgSettings, service: Service, siblings: Mapping[str, Pool]
    ) -> None:
        self.name = name
        self.required = settings.required
        self.roles = settings.roles
        self._settings = settings
        self._service = service
        self.connections = Connections(name, settings, service, settings.max_size, siblings)
        self._timeouts = self.connections.timeouts
        self._slots = Slots(name, settings.max_size, settings.max_waiting, self._timeouts.acquire)
        self._checkout = Durations()
        self._holds: Holds[Taken] = Holds(name, self._timeouts.leak)
        self._pool: DriverPool | None = None
        self._creation = asyncio.Lock()
        # Those that have just read, and nothing else; the next read takes the last of them.
        self._at_hand: list[PooledConnection] = []
        self._putting_away: asyncio.Task[None] | None = None

    async def _open(self) -> DriverPool:
        """The driver's pool, which needs the server to open: at start, or when it first answers."""
        if self._pool is None:
            async with self._creation:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        connect=self.connections.connect,
                        connection_class=TrackedConnection,
                        init=register_codecs,
                        reset=nothing if self._settings.pgbouncer else None,
                        min_size=self._settings.min_size,
                        max_size=self._settings.max_size,
                        max_inactive_connection_lifetime=(
                            self._settings.max_inactive_connection_lifetime
                        ),
                        max_queries=self._settings.max_queries,
                    )
        return self._pool

    async def open(self) -> None:
        """Open the first connections; a server that is away now may be there later."""
        try:
            await self._open()
        except PoolError as error:
            log.warning("not connected at start", pool=self.name, error=str(error))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection]:
        """A connection, given back at the end, its session reset.

        Behind PgBouncer in a transaction, which is what PgBouncer keeps together.

        Raises PoolTimeout, PoolFull, NotConnected, OutcomeUnknown, Contended or TimedOut.
        """
        taken = await self._take()
        try:
            if self._settings.pgbouncer:
                async with taken.connection.transaction():
                    yield taken.connection
            else:
                yield taken.connection
        except Exception as error:
            self._name(error, taken)
            raise
        finally:
            await self._give_back(taken)

    async def rows(self, query: str, *args: object) -> list[asyncpg.Record]:
        """The rows of one statement that reads.

        Its session is not reset when nothing can have changed in it, which is half of the work.
        Raises what `connection` does.
        """
        if self._settings.pgbouncer:
            async with self.connection() as connection:
                return await connection.fetch(query, *args)
        taken = await self._take()
        try:
            rows = await taken.connection.fetch(query, *args)
            taken.tracked.needs_reset = not is_harmless(query)
            return rows
        except Exception as error:
            self._name(error, taken)
            raise
        finally:
            await self._give_back(taken)

    async def _take(self) -> Taken:
        note_taker()
        asked = monotonic()
        if not self._slots.take():
            self.connections.check()
            await self._slots.wait()
        try:
            taken = await self._acquire()
        except BaseException:
            self._slots.give_back()
            raise
        self._checkout.observe(taken.at - asked)
        self._holds.begin(taken)
        return taken

    async def _give_back(self, taken: Taken) -> None:
        try:
            await self._release(taken.connection, taken.tracked)
        finally:
            self._holds.end(taken)
            self._slots.give_back()

    def _name(self, error: Exception, taken: Taken) -> None:
        """Raise the pool's own error for one that came up while a connection was out, if any."""
        named = self.connections.named(error, lost=taken.tracked.is_closed())
        if self.connections.is_silent(error, taken.at):
            self.connections.condemn(taken.tracked, "broken")
        if isinstance(named, Unavailable):
            self.connections.condemn(taken.tracked, "broken")
            # Every statement outside a transaction is stored by itself.
            raise OutcomeUnknown(self.name, str(named)) from error
        if named:
            raise named from error

    async def _acquire(self) -> Taken:
        """A connection that is of use: the driver replaces what turns out to be closed."""
        pool = await self._open()
        while True:
            # What can make this wait has bounds of its own: a connection that is being opened.
            connection = self._at_hand.pop() if self._at_hand else await pool.acquire()
            # A connection that is closed in this very moment has nothing behind its proxy.
            tracked: TrackedConnection | None = getattr(connection, "itself", None)
            if tracked is None:
                continue
            tracked.in_use = tracked.needs_reset = True
            is_of_use = self.connections.is_fresh(tracked)
            try:
                is_of_use = is_of_use or await self.connections.is_usable(tracked)
            finally:
                if not is_of_use:
                    await self._release(connection, tracked)
            if is_of_use:
                return Taken(connection, tracked, monotonic())

    async def _release(self, connection: PooledConnection, tracked: TrackedConnection) -> None:
        """Give a connection back, or have it at hand for the next read.

        The way through the driver's pool and back is a task, a context and two timers, a tenth of
        what a read costs. It is gone once a second all the same, or nothing would be counted there.
        """
        tracked.in_use = False
        tracked.used = monotonic()
        if tracked.needs_reset or tracked.used >= tracked.due:
            tracked.due = tracked.used + AT_HAND
            await self._put_away(connection)
            return
        self._at_hand.append(connection)
        if self._putting_away is None or self._putting_away.done():
            # On behalf of no request.
            self._putting_away = asyncio.create_task(self._put_all_away(), context=Context())

    async def _put_all_away(self) -> None:
        while self._at_hand:
            await asyncio.sleep(AT_HAND)
            for _ in range(len(self._at_hand)):  # more may come meanwhile, or fewer be left
                if self._at_hand:
                    await self._put_away(self._at_hand.pop(0))

    async def _put_away(self, connection: PooledConnection) -> None:
        """Back to the driver's pool, which closes what was idle or was used for long enough.

        One that cannot be reset is closed; what was done stays done.
        """
        try:
            await (await self._open()).release(connection, timeout=self._timeouts.ping)
        except DRIVER_ERRORS as error:
            log.warning("connection not reset", pool=self.name, error=type(error).__name__)

    async def ping(self) -> None:
        """Test one connection; a busy pool is alive if one came back of late."""
        if self._slots.taken < self._slots.size:
            async with self.connection() as connection:
                server = await connection.fetchrow(SERVER, timeout=self._timeouts.ping)
                assert server is not None
                self.connections.learn(*server)
        elif monotonic() - self._holds.last_end > self._service.deadline:
            raise Unavailable(self.name, "all connections are out and none came back of late")

    def stats(self) -> DatabaseStats:
        out = sum(not taken.tracked.is_closed() for taken in self._holds)
        return self.connections.stats(
            self._slots, self._settings.max_size, out, self._checkout, self._holds
        )

    async def close(self) -> None:
        """Close the connections politely, those that take too long at once."""
        if self._putting_away is not None:
            self._putting_away.cancel()
        await self.connections.close(self._service.close_timeout)
        if self._pool is not None:
            self._pool.terminate()


async def nothing(_: postgres.Connection) -> None:
    """Between transactions PgBouncer's connection is another one: there is nothing to reset."""


async def register_codecs(connection: postgres.Connection) -> None:
    """Values of both JSON types are Python's own; by default asyncpg gives their text."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )


@asynccontextmanager
async def open_pool(pool: AsyncpgPool) -> AsyncIterator[AsyncpgPool]:
    try:
        await pool.open()
        yield pool
    finally:
        await pool.close()
