"""What tests of items share."""

# Goes with the examples.

import os
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.pools.asyncpg import AsyncpgPool
from app.pools.postgres import Connection
from tests.database.fixtures import clock, hasty, observer, proxy

__all__ = ["clock", "hasty", "observer", "proxy"]

# Every test opens the pool, few need more of it.
os.environ.setdefault("ASYNCPG__MIN_SIZE", "1")


@pytest.fixture(autouse=True)
async def empty_table(observer: Connection) -> AsyncIterator[None]:
    yield
    await observer.execute("TRUNCATE items RESTART IDENTITY")


def raw_pool(app: FastAPI) -> AsyncpgPool:
    """The asyncpg pool of a running service."""
    [pool] = [pool for pool in app.state.pools if isinstance(pool, AsyncpgPool)]
    return pool
