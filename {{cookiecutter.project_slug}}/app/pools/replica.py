"""A replica, which serves reads as long as it is there and fresh, and an analytics database."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from time import monotonic
from typing import ClassVar

import structlog
from pydantic import Field
from sqlalchemy import Connection, Row, Select, Text, case, func, select
from starlette.datastructures import State

from app.pools.base import Pool, PoolError, Service
from app.pools.postgres import DatabaseUrl, Seconds
from app.pools.sqlalchemy import SQLAlchemyPool, SQLAlchemySettings, Ts, open_pool

log = structlog.get_logger(__name__)

# Seconds between two looks at the replica; it is out and back within a few of them.
LOOK_EVERY = 0.5

# Good looks in a row before the replica is back, so that one that comes and goes stays out.
LOOKS_TO_RETURN = 3

# Nothing has been written beyond this position.
END_OF_LOG = 2**64 - 1

# Whatever is visible by now, on the disk or not.
WRITTEN = select(func.pg_current_wal_insert_lsn().cast(Text))
# What a replica can have at most. The insert position is beyond it on a new page of the log, until
# somebody writes there.
FLUSHED = select(func.pg_current_wal_flush_lsn().cast(Text))
# A replica that was promoted writes its own log.
REPLAYED = select(
    case(
        (func.pg_is_in_recovery(), func.pg_last_wal_replay_lsn()),
        else_=func.pg_current_wal_insert_lsn(),
    ).cast(Text)
)


class ReplicaSettings(SQLAlchemySettings):
    """The pool of the replica, which serves reads."""

    required = False
    inherits_url: ClassVar[bool] = False
    read_only: ClassVar[bool] = True
    waits_for_server: ClassVar[bool] = False
    roles = ("reader",)

    url: DatabaseUrl | None = Field(
        None,
        description="Where the replica is, or several that share a name. Default: none, and the "
        "primary serves its reads.",
    )
    pool_size: int = Field(
        30,
        ge=1,
        description="Connections that are kept open, per worker: more than the primary's, as most "
        "of the work is reading.",
    )
    max_lag: Seconds = Field(
        10,
        description="Seconds that the replica may be behind. Further behind it is left out, and "
        "the primary serves its reads until it is at most half as far behind.",
    )

    def limit(self, request_deadline: float) -> tuple[float, str]:
        # A read that the replica does not answer still has time for the primary.
        return 0.5 * request_deadline, "half of REQUEST_DEADLINE"

    def open(
        self, name: str, service: Service, opened: Mapping[str, Pool]
    ) -> AbstractAsyncContextManager[Pool]:
        primary = opened["primary"]
        assert isinstance(primary, SQLAlchemyPool)
        return open_replica(ReplicaPool(name, self, service, opened, primary))


class AnalyticsSettings(SQLAlchemySettings):
    """The pool of the analytics database."""

    required = False
    inherits_url: ClassVar[bool] = False
    read_only: ClassVar[bool] = True
    roles = ("analyst",)

    url: DatabaseUrl | None = Field(
        None,
        description="Where the analytics database is. Default: none, and the primary serves it.",
    )
    pool_size: int = Field(
        5,
        ge=1,
        description="Connections that are kept open, per worker: few, so that long queries do not "
        "crowd their server.",
    )
    deadline: Seconds = Field(
        30,
        description="Seconds within which a request for figures is answered, instead of "
        "`REQUEST_DEADLINE`: such queries take long. Its timeouts are fractions of this.",
    )

    def limit(self, request_deadline: float) -> tuple[float, str]:
        return self.deadline, "ANALYTICS__DEADLINE"


def position(lsn: str) -> int:
    """A position in the write-ahead log as a number. Raises ValueError for what is none."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) | int(low, 16)


class Behind(Exception):
    """A server has not replayed as much as is asked for."""


class ReplicaPool(SQLAlchemyPool):
    """The replica's pool, which knows how far behind it is and when the primary has to serve."""

    def __init__(
        self,
        name: str,
        settings: ReplicaSettings,
        service: Service,
        siblings: Mapping[str, Pool],
        primary: SQLAlchemyPool,
    ) -> None:
        super().__init__(name, settings, service, siblings)
        self.lag = 0.0
        """Seconds behind the primary, as of the last look."""
        self.is_in = False
        """Whether it serves reads."""
        self._primary = primary
        self._max_lag = settings.max_lag
        self._replayed = 0
        self._good_looks = LOOKS_TO_RETURN - 1
        self._written: deque[tuple[float, int]] = deque()

    def source(self, after: int | None) -> SQLAlchemyPool:
        """Itself, unless it is out or has not replayed what was written."""
        is_fresh = after is None or after <= self._replayed
        return self if self.is_in and is_fresh else self._primary

    def _check(self, connection: Connection, after: int) -> None:
        # The server of the last look may be another one, where several share a name.
        if position(connection.execute(REPLAYED).scalar_one()) < after:
            raise Behind

    async def note_write(self, state: State) -> None:
        """Remember how far the log was after a write; not knowing sends readers to the primary."""
        state.written = END_OF_LOG
        with suppress(PoolError):
            [(written,)] = await self._primary.rows(WRITTEN)
            state.written = position(written)

    async def rows(
        self,
        statement: Select[*Ts],
        parameters: Mapping[str, object] | None = None,
        *,
        after: int | None = None,
    ) -> Sequence[Row[*Ts]]:
        try:
            return await super().rows(statement, parameters, after=after)
        except Behind:
            return await self._primary.rows(statement, parameters)
        except PoolError as error:
            if self.connections.breaker.is_tripped:
                self._leave(str(error))
            raise

    async def watch(self) -> None:
        """Look at the replica again and again."""
        while True:
            try:
                await self.look()
            except PoolError as error:
                self._leave(str(error))
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """See how far it is behind, and whether it serves reads."""
        # A primary that is away writes nothing, and the replica is as good as any.
        with suppress(PoolError):
            [(written,)] = await self._primary.rows(FLUSHED)
            self._written.append((monotonic(), position(written)))
        [(replayed,)] = await super().rows(REPLAYED)
        self._replayed = position(replayed)
        while self._written and self._written[0][1] <= self._replayed:
            self._written.popleft()
        self.lag = monotonic() - self._written[0][0] if self._written else 0.0
        if self.lag > self._max_lag:
            self._leave(f"{self.lag:.1f} s behind")
        elif not self.is_in and self.lag <= 0.5 * self._max_lag:
            self._good_looks += 1
            if self._good_looks >= LOOKS_TO_RETURN:
                self.is_in = True
                log.info("replica serves reads", pool=self.name)

    def _leave(self, reason: str) -> None:
        self._good_looks = 0
        if self.is_in:
            self.is_in = False
            log.warning("replica is left out", pool=self.name, reason=reason)


@asynccontextmanager
async def open_replica(pool: ReplicaPool) -> AsyncIterator[ReplicaPool]:
    async with open_pool(pool):
        with suppress(PoolError):
            await pool.look()
        watch = asyncio.create_task(pool.watch())
        try:
            yield pool
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
