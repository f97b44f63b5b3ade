"""The pools as they are commonly written, at the routes and rows of the generated service.

Nothing here is to be imitated: what is wrong with it is what is measured.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import asyncpg
from fastapi import Depends, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from users import User

URL = os.environ["DATABASE_URL"]
UPSTREAM = os.environ["AIOHTTP__BASE_URL"]
SERVER_SETTINGS = {"statement_timeout": "60000", "lock_timeout": "10000"}


engine = create_async_engine(
    URL.replace("postgresql://", "postgresql+asyncpg://").replace("?sslmode=", "?ssl="),
    poolclass=AsyncAdaptedQueuePool,
    pool_size=20,
    max_overflow=10,
    pool_pre_ping=True,
    pool_recycle=1800,
    pool_timeout=30,
    connect_args={"command_timeout": 60, "server_settings": SERVER_SETTINGS},
)
sessions = async_sessionmaker(engine, expire_on_commit=False, autoflush=False)


async def set_up(connection: Any) -> None:
    for statement in (
        "SET timezone TO 'UTC'",
        "SET statement_timeout TO '60s'",
        "SET lock_timeout TO '10s'",
    ):
        await connection.execute(statement)
    # Of both types, or else the service's rows could not be written at all.
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(
        URL,
        min_size=10,
        max_size=20,
        max_inactive_connection_lifetime=300,
        max_queries=50000,
        command_timeout=60,
        timeout=30,
        setup=set_up,
    )
    app.state.http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=100, limit_per_host=20, keepalive_timeout=30, ttl_dns_cache=300, ssl=False
        ),
        timeout=aiohttp.ClientTimeout(total=30, connect=10, sock_read=20, sock_connect=5),
        headers={"User-Agent": "MyApp/1.0"},
    )
    yield
    await app.state.http.close()
    await app.state.pool.close()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_db() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        try:
            yield session
            await session.commit()
        except Exception:
            await session.rollback()
            raise


Db = Annotated[AsyncSession, Depends(get_db)]


@app.get("/users/{user_id}", response_model=None)
async def get_user(user_id: int, db: Db) -> Any:
    result = await db.execute(select(User).where(User.id == user_id))
    return result.scalar_one_or_none()


@app.post("/users", response_model=None)
async def create_user(user: dict[str, Any], db: Db) -> Any:
    db_user = User(**user)
    db.add(db_user)
    await db.flush()
    return db_user


@app.get("/items/{item_id}", response_model=None)
async def get_item(item_id: int) -> Any:
    async with app.state.pool.acquire() as connection:
        row = await connection.fetchrow("SELECT * FROM items WHERE id = $1", item_id)
        return dict(row) if row else None


@app.post("/items/batch", response_model=None)
async def batch(items: list[dict[str, Any]]) -> Any:
    async with app.state.pool.acquire() as connection, connection.transaction():
        for item in items:
            await connection.execute(
                "INSERT INTO items (name, value) VALUES ($1, $2)", item["name"], item["value"]
            )
    return {"inserted": len(items)}


async def fetch(resource: str) -> Any:
    async with app.state.http.get(f"{UPSTREAM}/{resource}") as response:
        return await response.json()


@app.get("/external/{resource}", response_model=None)
async def fetch_external(resource: str) -> Any:
    return await fetch(resource)


@app.get("/fan-out", response_model=None)
async def fan_out() -> Any:
    return await asyncio.gather(fetch("one"), fetch("two"), fetch("three"))
