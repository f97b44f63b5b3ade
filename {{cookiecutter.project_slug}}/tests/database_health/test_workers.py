"""With several workers, whichever of them is asked tells of all of them."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.pools.postgres import Connection, DatabaseSettings
from app.settings import Settings
from tests.database.fixtures import observer
from tests.waiting import until

__all__ = ["observer"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop and Unix sockets")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Each pool of the workers, and what the server calls it."""
    pools = [
        name for name, pool in Settings().pool_settings() if isinstance(pool, DatabaseSettings)
    ]
    names = {name: f"workers-under-test/{name}" for name in pools}
    for name, application_name in names.items():
        monkeypatch.setenv(f"{name.upper()}__APPLICATION_NAME", application_name)
    return names


@asynccontextmanager
async def workers(number: int) -> AsyncIterator[str]:
    """The service with so many workers; where it listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ("-m", "uvicorn", "app.main:app", "--port", str(port), "--workers", str(number))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self.samples = [sample for family in families for sample in family.samples]
        self.workers = {sample.labels["worker"] for sample in self.samples}

    def sizes(self, pools: dict[str, str]) -> dict[str, float]:
        return {
            pool: sum(
                sample.value
                for sample in self.samples
                if sample.name == "db_pool_size" and sample.labels["pool"] == pool
            )
            for pool in pools
        }


async def scrape(url: str) -> Scrape:
    """As Prometheus does it: on a new connection, which any worker takes."""
    async with httpx.AsyncClient(timeout=10) as client:
        return Scrape((await client.get(f"{url}/metrics")).text)


async def test_a_worker_that_is_killed_is_gone_from_the_next_scrape(
    names: dict[str, str], observer: Connection
) -> None:
    path = next(path for path in create_app().openapi()["paths"] if path.endswith("_id}"))
    path = path.partition("{")[0] + "1"

    async def sizes_at_the_server() -> dict[str, float]:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return {pool: float(await observer.fetchval(query, names[pool])) for pool in names}

    async def is_right() -> bool:
        return (await scrape(url)).sizes(names) == await sizes_at_the_server()

    async def have_come(number: int) -> bool:
        with suppress(httpx.TransportError):
            return len((await scrape(url)).workers) == number
        return False

    async def load() -> None:
        while True:
            async with httpx.AsyncClient(timeout=10) as client:
                with suppress(httpx.TransportError):
                    while True:
                        assert (await client.get(f"{url}{path}")).status_code == 404

    async with workers(2) as url:
        await until(lambda: have_come(2), 30)
        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(load()) for _ in range(10)]
            await asyncio.sleep(0)
            before = await scrape(url)
            assert len(before.workers) == 2
            victim = before.workers.pop()
            os.kill(int(victim), signal.SIGKILL)
            after = await until_answered(url)
            assert victim not in after.workers
            await until(lambda: have_come(2), 30)
            for each in loads:
                each.cancel()
        await until(is_right)
        assert sum((await sizes_at_the_server()).values()) > 0


async def until_answered(url: str) -> Scrape:
    """The first scrape that is answered; one may meet the worker that is just being killed."""
    while True:
        with suppress(httpx.TransportError):
            return await scrape(url)
