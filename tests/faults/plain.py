"""The same read as it is commonly written, by the pool that STACK names: `uvicorn plain:app`.

Runs in a project's environment.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

URL = os.environ["DATABASE_URL"]
QUERY = "SELECT id, name, email FROM users WHERE id = "

Row = dict[str, Any]
Read = Callable[[int], Awaitable[Row | None]]


@asynccontextmanager
async def sqlalchemy_pool(**options: Any) -> AsyncIterator[Read]:
    dsn, _, _ = URL.partition("?")
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"), **options)
    sessions = async_sessionmaker(engine, class_=AsyncSession)

    async def read(user_id: int) -> Row | None:
        async with sessions() as session:
            result = await session.execute(text(f"{QUERY}:id"), {"id": user_id})
            row: Any = result.mappings().one_or_none()
            await session.commit()
            return dict(row) if row else None

    yield read
    await engine.dispose()


@asynccontextmanager
async def asyncpg_pool() -> AsyncIterator[Read]:
    async with asyncpg.create_pool(URL) as pool:

        async def read(user_id: int) -> Row | None:
            async with pool.acquire() as connection:
                row = await connection.fetchrow(f"{QUERY}$1", user_id)
                return dict(row) if row else None

        yield read


@asynccontextmanager
async def psycopg_pool() -> AsyncIterator[Read]:
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    check = AsyncConnectionPool.check_connection
    async with AsyncConnectionPool(
        URL, timeout=5, check=check, max_size=10, kwargs={"row_factory": dict_row}
    ) as pool:

        async def read(user_id: int) -> Row | None:
            async with pool.connection() as connection:
                cursor = await connection.execute(f"{QUERY}%s", [user_id])
                row: Row | None = await cursor.fetchone()
                return row

        yield read


STACKS = {
    "SQLAlchemy": sqlalchemy_pool,
    "SQLAlchemy, pre-ping, timeouts of 5 s": lambda: sqlalchemy_pool(
        pool_pre_ping=True, pool_timeout=5, connect_args={"timeout": 5}
    ),
    "asyncpg": asyncpg_pool,
    "psycopg_pool, check, timeout of 5 s": psycopg_pool,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with STACKS[os.environ["STACK"]]() as read:
        app.state.read = read
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/users/{user_id}")  # type: ignore[untyped-decorator, unused-ignore]
async def read_user(user_id: int) -> Row:
    row: Row | None = await app.state.read(user_id)
    if row is None:
        raise HTTPException(404)
    return row


@app.get("/health/ready")  # type: ignore[untyped-decorator, unused-ignore]
async def ready() -> None:
    """It serves."""
