"""A primary with a streaming replica, and the service on both."""

# Goes with the examples.

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from app.pools.postgres import Connection
from app.pools.replica import ReplicaPool
from app.settings import Settings
from app.users.models import User
from dev.servers.postgres import execute, server
from tests.database.servers import directory_of
from tests.replication.servers import replica_of
from tests.waiting import until


@dataclass(frozen=True)
class Cluster:
    """The URLs of a primary and of its replica."""

    primary: str
    replica: str

    @property
    def replica_data(self) -> Path:
        return directory_of(self.replica)


def create_users() -> str:
    """The statement that creates the table as the models have it."""
    table = User.metadata.tables["users"]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(CreateTable(table).compile(dialect=dialect))


async def has_users(url: str) -> None:
    """Wait until a replica has the table."""
    connection = await asyncpg.connect(url)

    async def is_there() -> bool:
        return bool(await connection.fetchval("SELECT to_regclass('users') IS NOT NULL"))

    await until(is_there)
    await connection.close()


@contextmanager
def new_cluster() -> Iterator[Cluster]:
    with server() as primary, replica_of(primary) as replica:
        asyncio.run(execute(primary, create_users()))
        asyncio.run(has_users(replica))
        yield Cluster(primary, replica)


@pytest.fixture(scope="package")
def lasting_cluster() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(lasting_cluster: Cluster) -> Iterator[Cluster]:
    """The same for all tests that leave it as it was, but for the rows."""
    yield lasting_cluster
    asyncio.run(execute(lasting_cluster.primary, "TRUNCATE users RESTART IDENTITY"))


@pytest.fixture
async def on_primary(cluster: Cluster) -> AsyncIterator[Connection]:
    """A connection of the test's own to the primary."""
    connection = await asyncpg.connect(cluster.primary)
    yield connection
    connection.terminate()


@pytest.fixture
async def on_replica(cluster: Cluster) -> AsyncIterator[Connection]:
    """A connection of the test's own to the replica."""
    connection = await asyncpg.connect(cluster.replica)
    yield connection
    connection.terminate()


@pytest.fixture
def settings(cluster: Cluster) -> Settings:
    settings = Settings()
    settings.primary.url = SecretStr(cluster.primary)
    settings.replica.url = SecretStr(cluster.replica)
    return settings


def replica_pool(app: FastAPI) -> ReplicaPool:
    [pool] = [pool for pool in app.state.pools if isinstance(pool, ReplicaPool)]
    return pool


def configure(url: str, **settings: str) -> None:
    """Change settings of a running server."""
    changes = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()]
    asyncio.run(execute(url, *changes, "SELECT pg_reload_conf()"))
