"""The SQLAlchemy pool: an async engine, reads, and units of work."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, TypeVarTuple
from uuid import uuid4

from pydantic import Field
from sqlalchemy import Connection, Row, Select, event, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import (
    AsyncAdaptedQueuePool,
    ConnectionPoolEntry,
    PoolProxiedConnection,
    QueuePool,
)
from sqlalchemy.util import await_only, greenlet_spawn
from starlette.datastructures import State

from app.pools.base import (
    Durations,
    OutcomeUnknown,
    Pool,
    PoolError,
    Service,
    Slots,
    TimedOut,
    Unavailable,
)
from app.pools.holds import Holds, note_taker
from app.pools.postgres import (
    SERVER,
    Connections,
    DatabaseSettings,
    DatabaseStats,
    Seconds,
    TrackedConnection,
)

Ts = TypeVarTuple("Ts")


class SQLAlchemySettings(DatabaseSettings):
    """The pool of the primary database."""

    roles: ClassVar[tuple[str, ...]] = ("reader", "writer", "analyst")

    pool_size: int = Field(
        20,
        ge=1,
        description="Connections that are kept open, per worker. A medium load needs no more: "
        "requests per second times seconds that each holds a connection, divided by 0.7.",
    )
    max_overflow: int = Field(
        0,
        ge=0,
        description="Connections beyond the pool size. None by default: they are closed on return, "
        "so that a busy pool connects anew all the time.",
    )
    pool_timeout: Seconds | None = Field(
        None,
        description="Seconds to wait for a connection. Default: 0.4 of `REQUEST_DEADLINE`, so that "
        "a query still fits in after it.",
    )
    pool_recycle: Seconds = Field(
        1800,
        description="Seconds after which a connection is replaced when next used, less up to a "
        "tenth by chance. Half an hour is below the idle limits of firewalls and proxies.",
    )
    echo: bool = Field(False, description="Whether to log every statement; for development.")

    @property
    def wait_timeout(self) -> float | None:
        return self.pool_timeout

    @property
    def lifetime(self) -> float:
        return self.pool_recycle

    def open(
        self, name: str, service: Service, opened: Mapping[str, Pool]
    ) -> AbstractAsyncContextManager[Pool]:
        return open_pool(SQLAlchemyPool(name, self, service, opened))


@dataclass
class Usage:
    """Who has a connection, who waits for one, and how long that takes."""

    connections: Connections
    slots: Slots
    holds: Holds[ConnectionPoolEntry]
    checkout: Durations = field(default_factory=Durations)


class BoundedQueuePool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool behind `Slots`: its queue is bounded, its waits and holds are measured."""

    usage: Usage

    # What SQLAlchemy says of it is said by SQLAlchemy, not by a module of ours.
    _sqla_logger_namespace = "sqlalchemy.pool"

    def connect(self) -> PoolProxiedConnection:
        asked = monotonic()
        connection = super().connect()
        assert isinstance(connection.driver_connection, TrackedConnection)
        connection.driver_connection.in_use = True
        self.usage.checkout.observe(monotonic() - asked)
        return connection

    def recreate(self) -> QueuePool:
        pool = super().recreate()
        assert isinstance(pool, BoundedQueuePool)
        pool.usage = self.usage
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        """An entry whose connection is of use, or that SQLAlchemy has to connect.

        Whoever is cancelled here leaves nothing behind: in a listener for "checkout" the entry
        would be lost.
        """
        usage = self.usage
        if not usage.slots.take():
            usage.connections.check()
            await_only(usage.slots.wait())
        entry: ConnectionPoolEntry | None = None
        try:
            entry = super()._do_get()
            driver = entry.driver_connection
            if isinstance(driver, TrackedConnection) and not (
                usage.connections.is_fresh(driver)
                or await_only(usage.connections.is_usable(driver))
            ):
                entry.invalidate()
        except BaseException:
            if entry is not None:
                super()._do_return_conn(entry)
            usage.slots.give_back()
            raise
        usage.holds.begin(entry)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        usage = self.usage
        if isinstance(driver := record.driver_connection, TrackedConnection):
            driver.in_use = False
            driver.used = monotonic()
        try:
            super()._do_return_conn(record)
        finally:
            usage.holds.end(record)
            usage.slots.give_back()


class SQLAlchemyPool:
    """An open pool, which hands out sessions."""

    def __init__(
        self,
        name: str,
        settings: SQLAlchemySettings,
        service: Service,
        siblings: Mapping[str, Pool],
    ) -> None:
        self.name = name
        self.required = settings.required
        self.roles = settings.roles
        self._settings = settings
        self._service = service
        size = settings.pool_size + settings.max_overflow
        self.connections = Connections(name, settings, service, size, siblings)
        driver_arguments: dict[str, Any] = {"async_creator_fn": self.connections.connect}
        if settings.pgbouncer:
            driver_arguments["prepared_statement_cache_size"] = 0
            driver_arguments["prepared_statement_name_func"] = unique_name
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args=driver_arguments,
            poolclass=BoundedQueuePool,
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            pool_use_lifo=True,
            # What is read is not in a transaction, which would be two round trips more. Without one
            # PgBouncer may prepare a statement on one connection of its own and execute it on
            # another.
            isolation_level="READ COMMITTED" if settings.pgbouncer else "AUTOCOMMIT",
            echo=settings.echo,
            hide_parameters=not settings.echo,
        )
        pool = self.engine.sync_engine.pool
        assert isinstance(pool, BoundedQueuePool)
        timeout = self.connections.timeouts.acquire
        slots = Slots(name, size, settings.max_waiting, timeout)
        holds: Holds[ConnectionPoolEntry] = Holds(name, self.connections.timeouts.leak)
        pool.usage = self._usage = Usage(self.connections, slots, holds)
        event.listen(self.engine.sync_engine, "handle_error", self._on_error)
        self._sessions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            expire_on_commit=False,
            close_resets_only=False,
        )

    async def rows(
        self,
        statement: Select[*Ts],
        parameters: Mapping[str, object] | None = None,
        *,
        after: int | None = None,
    ) -> Sequence[Row[*Ts]]:
        """The rows of a statement that reads: one round trip, which sees what is committed.

        They are as of `after`, a position in the log, at least. Raises PoolTimeout, PoolFull,
        Unavailable, Contended or TimedOut.
        """

        def read() -> Sequence[Row[*Ts]]:
            with self.engine.sync_engine.connect() as connection:
                if after is not None:
                    self._check(connection, after)
                return connection.execute(statement, parameters).all()

        note_taker()
        # One switch for all of it; an AsyncConnection has one to connect, one to execute, one more.
        return await greenlet_spawn(read)

    @asynccontextmanager
    async def unit_of_work(self, isolation: str = "READ COMMITTED") -> AsyncIterator[AsyncSession]:
        """A session in a transaction: committed at the end, rolled back on any exception.

        Raises PoolTimeout, PoolFull, Unavailable, Contended or TimedOut; OutcomeUnknown when the
        COMMIT was sent and its answer did not come.
        """
        note_taker()
        async with self._sessions() as session:
            if isolation != "READ COMMITTED":
                await session.connection(execution_options={"isolation_level": isolation})
            yield session
            try:
                await session.commit()
            except (Unavailable, TimedOut) as error:
                raise OutcomeUnknown(self.name, f"no answer to COMMIT: {error}") from error

    def source(self, after: int | None) -> "SQLAlchemyPool":
        """Which pool a read goes to; there is one copy of the data, and it is always fresh."""
        return self

    def _check(self, connection: Connection, after: int) -> None:
        """See that a connection's server has the log up to there; the primary has all of it."""

    async def note_write(self, state: State) -> None:
        """Hear of a write of the request with this state; there is nobody to tell."""

    async def ping(self) -> None:
        """Test one idle or new connection; a busy pool is alive if one came back of late."""
        if self._usage.slots.taken < self._usage.slots.size:
            async with self.engine.connect() as connection:
                self.connections.learn(*(await connection.execute(text(SERVER))).one())
        elif monotonic() - self._usage.holds.last_end > self._service.deadline:
            raise Unavailable(self.name, "all connections are out and none came back of late")

    def stats(self) -> DatabaseStats:
        usage = self._usage
        drivers = (entry.driver_connection for entry in usage.holds)
        out = sum(isinstance(it, TrackedConnection) and not it.is_closed() for it in drivers)
        return self.connections.stats(
            usage.slots, self._settings.pool_size, out, usage.checkout, usage.holds
        )

    async def close(self) -> None:
        """Close the connections politely, those that take too long at once."""
        await self.connections.close(self._service.close_timeout)
        await self.engine.dispose()

    def _on_error(self, context: ExceptionContext) -> PoolError | None:
        """Name what the driver raised, and let go of a connection that is of no use any more."""
        error = context.original_exception
        if not isinstance(error, Exception):
            return None  # cancelled
        named = self.connections.named(error, lost=context.is_disconnect)
        if isinstance(error, OSError) or isinstance(named, Unavailable):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            if context.connection is not None:
                driver = context.connection.connection.driver_connection
                assert isinstance(driver, TrackedConnection)
                self.connections.condemn(driver, "broken")
        return named


def unique_name() -> str:
    """No two prepared statements meet on a connection that PgBouncer passes around."""
    return f"statement_{uuid4().hex}"


@asynccontextmanager
async def open_pool(pool: SQLAlchemyPool) -> AsyncIterator[SQLAlchemyPool]:
    try:
        yield pool
    finally:
        await pool.close()
