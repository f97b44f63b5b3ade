"""What a route asks of a SQLAlchemy database: a reader, a unit of work, or a writer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Literal, TypeVar, TypeVarTuple

from fastapi import Depends, Request
from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.pools.base import PoolError
from app.pools.sqlalchemy import SQLAlchemyPool
from app.retry import Retry, Retrying

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class BaseReader:
    """Reads only: each read is one round trip in a session of its own.

    A read whose connection was lost is run again, elsewhere if the pool has found a place by then.
    """

    def __init__(self, pool: SQLAlchemyPool, retry: Retry, after: int | None) -> None:
        self._pool = pool
        self._retry = retry
        self._after = after

    async def get(self, entity: type[T], key: object) -> T | None:
        """The entity with this primary key."""
        return await self._read(lambda session: session.get(entity, key))

    async def all(self, statement: Select[*Ts]) -> Sequence[Row[*Ts]]:
        """All rows of a statement. Raises TypeError for one that locks rows: that is writing."""
        if statement._for_update_arg is not None:
            raise TypeError("FOR UPDATE locks rows: use a unit of work")

        async def rows(session: AsyncSession) -> Sequence[Row[*Ts]]:
            return (await session.execute(statement)).all()

        return await self._read(rows)

    async def _read(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async def attempt() -> T:
            source = self._pool.source(self._after)
            try:
                async with source.read_session() as session:
                    return await work(session)
            except PoolError:
                stand_in = self._pool.source(self._after)
                if stand_in is source:
                    raise
            async with stand_in.read_session() as session:
                return await work(session)

        return await self._retry.transaction(attempt, idempotent=True)


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


def reader(request: Request, retry: Retrying) -> _Reader:
    after = getattr(request.state, "read_after", None)
    return _Reader(request.state.reader, retry, after)


def writer(request: Request, retry: Retrying) -> _Writer:
    return _Writer(request, retry)


async def unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.state.writer.unit_of_work() as session:
        yield session
    await request.state.reader.note_write(request.state)


Reader = Annotated[_Reader, Depends(reader)]
Writer = Annotated[_Writer, Depends(writer)]
# Function scope: committed and given back before the answer is sent, so that a 2xx is a promise.
UnitOfWork = Annotated[AsyncSession, Depends(unit_of_work, scope="function")]
