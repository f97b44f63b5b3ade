"""A load of reads, and the lowest that a pool's figures ever were."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.database.failures import DatabasePool


@dataclass
class Load:
    """What has been seen so far."""

    statuses: list[int] = field(default_factory=list)
    lowest: int = 0


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, path: str, pool: DatabasePool, clients: int = 10
) -> AsyncIterator[Load]:
    """Clients that read one after the other; all have their answers when the context ends."""
    load = Load()
    is_over = False

    async def read_on() -> None:
        while not is_over:
            load.statuses.append((await client.get(path)).status_code)
            now = pool.stats()
            figures = (now.size, now.checked_out, now.idle, now.overflow, now.waiting)
            load.lowest = min(load.lowest, *figures)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(read_on())
        yield load
        is_over = True
