"""What a route asks of the raw asyncpg pool."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypeVar

import asyncpg
from fastapi import Depends, Request

from app.pools.asyncpg import AsyncpgPool, PooledConnection
from app.retry import Retry

T = TypeVar("T")


class _Sql:
    """Connections, taken where they are needed and given back before the answer is sent."""

    def __init__(self, pool: AsyncpgPool, retry: Retry) -> None:
        self._pool = pool
        self._retry = retry

    def connection(self) -> AbstractAsyncContextManager[PooledConnection]:
        """A connection as long as the context lasts; raises what `AsyncpgPool.connection` does."""
        return self._pool.connection()

    async def all(self, query: str, *args: object) -> list[asyncpg.Record]:
        """All rows of one statement that reads; it is run again when its connection was lost."""
        return await self._retry.transaction(lambda: self._pool.rows(query, *args), idempotent=True)

    async def first(self, query: str, *args: object) -> asyncpg.Record | None:
        """The first row of one statement that reads, or None."""
        rows = await self.all(query, *args)
        return rows[0] if rows else None

    async def run(
        self, work: Callable[[PooledConnection], Awaitable[T]], *, idempotent: bool = False
    ) -> T:
        """The result of `work`, which is one statement or one transaction, on a connection.

        After a conflict, or a connection that was lost, it is run again on another one; when it may
        have been stored already only if `idempotent`.
        """

        async def attempt() -> T:
            async with self._pool.connection() as connection:
                return await work(connection)

        return await self._retry.transaction(attempt, idempotent=idempotent)


async def sql(request: Request) -> _Sql:
    return _Sql(request.state.asyncpg, request.app.state.retry)


Sql = Annotated[_Sql, Depends(sql)]
