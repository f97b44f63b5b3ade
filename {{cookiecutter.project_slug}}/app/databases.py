"""What a route asks of a SQLAlchemy database: a reader, a unit of work, or a writer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeVar, TypeVarTuple

from fastapi import Depends, Request
from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.pools.base import PoolError
from app.pools.sqlalchemy import SQLAlchemyPool
from app.retry import Retry

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class BaseReader:
    """Reads only: each statement is one round trip, and its rows have columns, no entities.

    A read whose connection was lost is run again, elsewhere if the pool has found a place by then.
    Statements that are made once, with `bindparam`, are the fastest.
    """

    def __init__(self, pool: SQLAlchemyPool, retry: Retry, after: int | None) -> None:
        self._pool = pool
        self._retry = retry
        self._after = after

    async def all(
        self, statement: Select[*Ts], parameters: Mapping[str, object] | None = None
    ) -> Sequence[Row[*Ts]]:
        """All rows of a statement.

        Raises TypeError for one that locks rows, which is writing, or that selects an entity, as
        nobody here would store its changes.
        """
        if statement._for_update_arg is not None:
            raise TypeError("FOR UPDATE locks rows: use a unit of work")
        if not all(isinstance(column, ColumnElement) for column in statement._raw_columns):
            raise TypeError("an entity is more than its columns: select those, or use a writer")

        async def read() -> Sequence[Row[*Ts]]:
            source = self._pool.source(self._after)
            try:
                return await source.rows(statement, parameters, after=self._after)
            except PoolError:
                stand_in = self._pool.source(self._after)
                if stand_in is source:
                    raise
            return await stand_in.rows(statement, parameters, after=self._after)

        return await self._retry.transaction(read, idempotent=True)

    async def first(
        self, statement: Select[*Ts], parameters: Mapping[str, object] | None = None
    ) -> Row[*Ts] | None:
        """The first row of a statement, or None. Raises TypeError as `all` does."""
        rows = await self.all(statement, parameters)
        return rows[0] if rows else None


class _Reader(BaseReader):
    """For what a user sees."""


class _Writer:
    """Writes in transactions that are run again, as a whole, when they have to be."""

    def __init__(self, request: Request, retry: Retry) -> None:
        self._request = request
        self._pool: SQLAlchemyPool = request.state.writer
        self._retry = retry

    async def run(
        self,
        work: Callable[[AsyncSession], Awaitable[T]],
        *,
        isolation: Isolation = "READ COMMITTED",
        idempotent: bool = False,
    ) -> T:
        """The result of `work`, committed.

        After a serialization failure, a deadlock, or a connection that was lost before the COMMIT
        it is run again in a new session; when it was lost during the COMMIT only if `idempotent`.
        """

        async def transaction() -> T:
            async with self._pool.unit_of_work(isolation) as session:
                return await work(session)

        result = await self._retry.transaction(transaction, idempotent=idempotent)
        await self._request.state.reader.note_write(self._request.state)
        return result


async def reader(request: Request) -> _Reader:
    after = getattr(request.state, "read_after", None)
    return _Reader(request.state.reader, request.app.state.retry, after)


async def writer(request: Request) -> _Writer:
    return _Writer(request, request.app.state.retry)


async def unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.state.writer.unit_of_work() as session:
        yield session
    await request.state.reader.note_write(request.state)


Reader = Annotated[_Reader, Depends(reader)]
Writer = Annotated[_Writer, Depends(writer)]
# Function scope: committed and given back before the answer is sent, so that a 2xx is a promise.
UnitOfWork = Annotated[AsyncSession, Depends(unit_of_work, scope="function")]
