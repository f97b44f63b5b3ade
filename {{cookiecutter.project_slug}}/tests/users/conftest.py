"""What tests of users share."""

# Goes with the examples.

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.pools.postgres import Connection
from app.pools.sqlalchemy import SQLAlchemyPool
from tests.database.fixtures import clock, hasty, observer, proxy

__all__ = ["clock", "hasty", "observer", "proxy"]


@pytest.fixture(autouse=True)
async def empty_table(observer: Connection) -> AsyncIterator[None]:
    yield
    await observer.execute("TRUNCATE users RESTART IDENTITY")


def primary(app: FastAPI) -> SQLAlchemyPool:
    """The primary pool of a running service."""
    [pool] = [pool for pool in app.state.pools if pool.name == "primary"]
    assert isinstance(pool, SQLAlchemyPool)
    return pool
