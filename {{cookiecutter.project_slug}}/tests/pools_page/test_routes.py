"""The page and its events on a real server, so that browsers really come and go."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.pools.base import Durations, PoolStats, figure
from app.pools_page import background
from app.settings import Settings
from tests.waiting import until


@dataclass(frozen=True)
class OneStats(PoolStats):
    prefix = "one_pool"

    checked_out: int = figure("In use.")
    idle: int = figure("Idle.")
    max: int = figure("All.")
    waiting: int = figure("Waiting.")
    budget: int = figure("No sum of all workers.")
    checkout: Durations = figure("Time to acquire.")
    timeouts: int = figure("Timeouts.", total=True)


@dataclass(frozen=True)
class OtherStats(PoolStats):
    prefix = "other_pool"

    in_use: int = figure("In use.")
    limit: int = figure("All.")


class StubPool:
    def __init__(self, name: str, stats: PoolStats) -> None:
        self.name = name
        self._stats = stats

    def stats(self) -> PoolStats:
        return self._stats


class BrokenPool:
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def stats(self) -> PoolStats:
        self.asked.set()
        raise RuntimeError("no figures")


class Service:
    """A service that listens, and its client."""

    def __init__(self, server: uvicorn.Server, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    async def readings(self) -> AsyncGenerator[Any]:
        async with self.client.stream("GET", "/pools/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    for reading in json.loads(line.removeprefix("data: ")):
                        yield reading


async def first(readings: AsyncIterator[Any], fits: Callable[[Any], bool]) -> None:
    """Return at the first reading that fits."""
    async with asyncio.timeout(5):
        async for reading in readings:
            if fits(reading):
                return
    pytest.fail("no more readings")


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Service]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    url = "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    async with httpx.AsyncClient(base_url=url) as client:
        try:
            yield Service(server, client)
        finally:
            server.should_exit = True
            await task


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(background, "PERIOD", 0.01)
    return Settings(pools_page=True)


async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pools")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    allowed = [source for rule in policy for source in rule.split()[1:]]
    assert {source for source in allowed if not source.startswith("'sha256-")} == {
        "'none'",
        "'self'",
        "data:",
    }
    assert re.findall(r"//\w|@import|url\(|innerHTML| on\w+=| style=", answer.text) == []
    assert re.findall(r'(?:src|href)="(.*?)"', answer.text) == ["data:,"]


async def test_readings_agree_with_the_metrics(app: FastAPI) -> None:
    durations = Durations()
    one = OneStats(
        checked_out=3, idle=4, max=20, waiting=5, budget=9, checkout=durations, timeouts=6
    )
    pools = [StubPool("one", one), StubPool("other", OtherStats(in_use=7, limit=8))]
    async with serving(app) as service, aclosing(service.readings()) as readings:
        app.state.pools = pools
        text = (await service.client.get("/metrics")).text
        metrics: dict[str, dict[str, object]] = {"one": {}, "other": {}}
        for family in text_string_to_metric_families(text):
            if "_pool_" in family.name and family.type != "histogram":
                for sample in family.samples:
                    figure = family.name.partition("_pool_")[2]
                    metrics[sample.labels["pool"]][figure] = sample.value
        assert metrics["one"].pop("budget") == 9

        metrics["one"]["checkout"] = [None, None]
        await first(readings, lambda reading: reading["pools"] == metrics)
        durations.observe(0.3)
        metrics["one"]["checkout"] = [0.375, 0.4975]
        await first(readings, lambda reading: reading["pools"] == metrics)


async def test_a_look_that_fails_is_not_the_last(app: FastAPI) -> None:
    broken = BrokenPool()
    async with serving(app) as service, aclosing(service.readings()) as readings:
        app.state.pools = [broken]
        async with asyncio.timeout(5):
            await broken.asked.wait()
        app.state.pools = [StubPool("one", OtherStats(in_use=1, limit=2))]
        await first(readings, lambda reading: reading["pools"].keys() == {"one"})


async def test_a_page_that_is_closed_leaves_nothing(app: FastAPI) -> None:
    async with serving(app) as service:
        before = asyncio.all_tasks()
        for _ in range(3):
            async with aclosing(service.readings()) as readings:
                await anext(readings)
            assert asyncio.all_tasks() > before
        await until(lambda: asyncio.all_tasks() == before)


async def test_an_open_page_does_not_hold_up_the_end(app: FastAPI) -> None:
    before = asyncio.all_tasks()
    async with serving(app) as service, aclosing(service.readings()) as readings:
        await anext(readings)
        service.server.should_exit = True
        async with asyncio.timeout(2):  # of SHUTDOWN_GRACE's ten
            async for _ in readings:
                pass
            await until(lambda: asyncio.all_tasks() == before)
