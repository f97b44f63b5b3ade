"""The live page in a real browser, while a pool has no connection left."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from browser import Page, browser
from running import Service, servers, serving, started
from test_services import Install, Installed, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

# Runs in the project: keeps all who want to read the table waiting, until the end of input.
LOCK = """
import asyncio, asyncpg, os, sys
async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    async with connection.transaction():
        await connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        print("locked", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await connection.close()
asyncio.run(main())
"""

SETTINGS = {
    "PRIMARY__POOL_SIZE": "2",
    "PRIMARY__MAX_WAITING": "3",
    "PRIMARY__POOL_TIMEOUT": "4",
    "REQUEST_DEADLINE": "60",
}

# What the page shows of each pool.
SHOWN = """
Object.fromEntries([...document.querySelectorAll("[data-pool]")].map(card => [
    card.dataset.pool,
    Object.fromEntries([
        ...["in_use", "idle", "max", "waiting"].map(
            name => [name, card.querySelector(`[data-figure=${name}]`).textContent]
        ),
        ...[...card.querySelectorAll(".counts tbody tr")].map(
            row => [row.cells[0].textContent, row.cells[2].textContent]
        ),
    ]),
]))
"""
EVENTS = "[...document.querySelectorAll('#events li')].map(line => line.lastChild.textContent)"
LIVE = "document.getElementById('live').textContent"

# By what names the page calls the figures of any kind of pool.
NAMES = {"checked_out": "in_use", "limit": "max"}


def counted(service: Service) -> dict[str, dict[str, str]]:
    """What /metrics says of each pool, as the page would say it."""
    pools: dict[str, dict[str, int]] = {}
    found = re.findall(
        r'^\w+?_pool_(\w+?)(?:_total)?\{pool="(\w+)".*\} ([\d.]+)$',
        service.call("GET", "/metrics").text,
        re.MULTILINE,
    )
    for name, pool, value in found:
        figures = pools.setdefault(pool, {"errors": 0})
        figures[NAMES.get(name, name)] = figures.get(name, 0) + int(float(value))
    return {
        pool: {name: str(value) for name, value in figures.items()}
        for pool, figures in pools.items()
    }


def agreed(page: Page, service: Service) -> dict[str, dict[str, str]]:
    """What the page shows, as soon as all of it is what /metrics says."""
    deadline = time.monotonic() + 5
    while True:
        shown: dict[str, dict[str, str]] = page.evaluate(SHOWN)
        said = counted(service)
        same = {pool: {name: said[pool].get(name, "") for name in shown[pool]} for pool in shown}
        if shown.keys() == said.keys() and shown == same:
            return shown
        assert time.monotonic() < deadline, f"shown: {shown}, said: {said}"
        time.sleep(0.05)


def happened(events: list[str]) -> Counter[str]:
    """How much of what happened to the primary, in whichever seconds."""
    counts: Counter[str] = Counter()
    for event in events:
        pool, _, said = event.partition(": ")
        assert pool == "primary"
        for part in said.split(", "):
            count, _, what = part.partition(" ")
            counts[what.removesuffix("s")] += int(count)
    return counts


@contextmanager
def locked(installed: Installed, variables: dict[str, str]) -> Iterator[None]:
    """Nobody can read the table of users."""
    log = installed.project.path.with_name("lock.log")
    command = (installed.python, "-c", LOCK)
    with started(installed.project, log, *command, talks=True, variables=variables) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        yield
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_page_shows_an_exhausted_pool_as_the_metrics_do(install: Install) -> None:
    installed = install(sqlalchemy_pool=True, aiohttp_pool=True, monitoring=True)
    with (
        servers(installed.project, installed.python) as variables,
        serving(installed.project, installed.python, {**variables, **SETTINGS}) as service,
        browser() as page,
        ThreadPoolExecutor(9) as threads,
    ):
        page.send(
            "Emulation.setDeviceMetricsOverride",
            width=360,
            height=640,
            deviceScaleFactor=1,
            mobile=True,
        )
        page.open(f"http://127.0.0.1:{service.port}/pools")
        page.wait_for(f"{LIVE} === 'live, 1 worker'")
        assert agreed(page, service)["primary"]["in_use"] == "0"
        assert page.evaluate(EVENTS) == []

        with locked(installed, variables):
            calls = [threads.submit(service.call, "GET", "/users/1") for _ in range(9)]
            page.wait_for(f"({SHOWN}).primary.waiting === '3'")
            exhausted = agreed(page, service)
            page.wait_for(f"({SHOWN}).primary.timeouts === '3'")
        statuses = sorted(call.result().status for call in calls)
        page.wait_for(f"({SHOWN}).primary.in_use === '0'")
        afterwards = agreed(page, service)
        events = page.evaluate(EVENTS)
        width = page.evaluate("document.documentElement.scrollWidth")
        problems = list(page.problems)

        begun = time.monotonic()
        assert service.stop() == 0
        duration = time.monotonic() - begun
        page.wait_for(f"{LIVE}.startsWith('not live since ')")

    assert exhausted["primary"] == {
        "in_use": "2",
        "idle": "0",
        "max": "2",
        "waiting": "3",
        "timeouts": "0",
        "rejected": "4",
        "errors": "0",
        "leaks": "0",
    }
    assert statuses == [200] * 2 + [503] * 7
    assert afterwards["primary"]["timeouts"] == "3"
    assert afterwards["primary"]["rejected"] == "4"
    assert happened(events) == {"timeout": 3, "rejected": 4}
    assert width == 360
    assert problems == []
    assert duration < 3  # of the ten that SHUTDOWN_GRACE gives
