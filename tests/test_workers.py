"""A service with several workers: whichever of them is asked tells of all of them."""

import json
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException

import pytest

from combinations import EVERYTHING
from running import PATIENCE, Service, free_port, servers, started, used, wait_for
from test_services import Install, Installed, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

# Runs in the project: how many connections the server has from each pool.
CONNECTIONS = """
import asyncio, asyncpg, json, os
async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    rows = await connection.fetch(
        "SELECT split_part(application_name, '/', 2) AS pool, count(*) FROM pg_stat_activity"
        " WHERE application_name LIKE '%/%' GROUP BY pool"
    )
    print(json.dumps({row["pool"]: row["count"] for row in rows}))
asyncio.run(main())
"""
SIZE = re.compile(r'^db_pool_size\{pool="(\w+)",worker="(\d+)"\} ([\d.]+)$', re.MULTILINE)


class Workers(Service):
    """A service with several workers."""

    def sizes(self) -> dict[str, dict[str, float]]:
        """What `/metrics` says of each worker's pools, by the worker's process id.

        A scrape that meets a worker in the moment in which it is killed has no answer.
        """
        while True:
            with suppress(OSError, HTTPException):
                text = self.call("GET", "/metrics").text
                break
        sizes: dict[str, dict[str, float]] = {}
        for pool, worker, size in SIZE.findall(text):
            sizes.setdefault(worker, {})[pool] = float(size)
        return sizes


def connections(installed: Installed, variables: Mapping[str, str]) -> dict[str, float]:
    counts: dict[str, float] = json.loads(installed.run("-c", CONNECTIONS, variables=variables))
    return counts


def test_a_worker_that_is_killed_is_gone_from_the_next_scrape(install: Install) -> None:
    installed = install(**EVERYTHING)
    log = installed.project.path.with_name("service.log")
    port = free_port()
    command = (installed.python, "-m", "uvicorn", "app.main:app", "--port", str(port))
    with (
        servers(installed.project, installed.python) as variables,
        started(installed.project, log, *command, "--workers", "2", variables=variables) as process,
    ):
        service = Workers(port, process)
        service.wait_until_ready(2 * PATIENCE)

        def there_are_two() -> bool:
            return len(service.sizes()) == 2

        wait_for(there_are_two, "both workers")
        with used(service, 5 * ["GET /users/1", "GET /items/1"], 0.001):
            victim, other = service.sizes()
            os.kill(int(victim), signal.SIGKILL)
            after = service.sizes()
            assert victim not in after
            assert other in after
            wait_for(there_are_two, "the worker that replaces the killed one")

        def agree() -> bool:
            each = service.sizes().values()
            pools = {pool for sizes in each for pool in sizes}
            said = {pool: sum(sizes.get(pool, 0) for sizes in each) for pool in pools}
            return said == connections(installed, variables)

        wait_for(agree, "figures that are the server's")
        assert service.stop() == 0
