"""A load of reads, and the lowest that the figures of pools ever were."""

# Goes with the examples.

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import httpx
from fastapi import FastAPI

from app.pools.base import Pool
from app.pools.postgres import Connections, DatabaseStats


class DatabasePool(Pool, Protocol):
    connections: Connections

    def stats(self) -> DatabaseStats: ...


@dataclass
class Load:
    """What has been seen so far."""

    statuses: list[int] = field(default_factory=list)
    lowest: int = 0


def databases(app: FastAPI) -> list[DatabasePool]:
    """The open pools of database connections."""
    return [pool for pool in app.state.pools if isinstance(pool.stats(), DatabaseStats)]


def reads(app: FastAPI) -> list[str]:
    """The paths that read the row with the id 1, whatever the service has of them."""
    paths = [path for path, methods in app.openapi()["paths"].items() if "get" in methods]
    return [re.sub(r"\{\w+_id\}$", "1", path) for path in paths if path.endswith("_id}")]


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient,
    paths: Sequence[str],
    pools: Iterable[DatabasePool],
    clients: int = 10,
) -> AsyncIterator[Load]:
    """Clients for each path, which read on and on; all have their answers when the context ends."""
    load = Load()
    is_over = False

    async def read_on(path: str) -> None:
        while not is_over:
            load.statuses.append((await client.get(path)).status_code)
            for now in [pool.stats() for pool in pools]:
                figures = (now.size, now.checked_out, now.overflow, now.waiting)
                load.lowest = min(load.lowest, *figures)

    async with asyncio.TaskGroup() as group:
        for path in paths:
            for _ in range(clients):
                group.create_task(read_on(path))
        yield load
        is_over = True
