"""What Prometheus reads."""

from collections import Counter as Tally
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.pools.base import Durations, PoolStats, figure


@dataclass(frozen=True)
class StubStats(PoolStats):
    prefix = "stub_pool"

    size: int = figure("Open connections.")
    timeouts: int = figure("Timeouts.", total=True)
    errors: Tally[str] = figure("Failures, by type.", total=True, by="type")
    checkout: Durations = figure("Time to acquire.")


class StubPool:
    def __init__(self, name: str) -> None:
        self.name = name

    def stats(self) -> StubStats:
        durations = Durations()
        durations.observe(0.001)
        durations.observe(0.3)
        durations.observe(100)
        return StubStats(size=3, timeouts=2, errors=Tally(lost=1), checkout=durations)


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_figures_of_pools(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state, "pools", [StubPool("one"), StubPool("two")], raising=False)
    found = await samples(client)
    for pool in ("one", "two"):

        def value(name: str, pool: str = pool, **labels: str) -> float:
            return found[name, frozenset({"pool": pool, **labels}.items())]

        assert value("stub_pool_size") == 3
        assert value("stub_pool_timeouts_total") == 2
        assert value("stub_pool_errors_total", type="lost") == 1
        assert value("stub_pool_checkout_seconds_count") == 3
        assert value("stub_pool_checkout_seconds_sum") == pytest.approx(100.301)
        assert value("stub_pool_checkout_seconds_bucket", le="0.0005") == 0
        assert value("stub_pool_checkout_seconds_bucket", le="0.001") == 1
        assert value("stub_pool_checkout_seconds_bucket", le="0.5") == 2
        assert value("stub_pool_checkout_seconds_bucket", le="30.0") == 2
        assert value("stub_pool_checkout_seconds_bucket", le="+Inf") == 3


async def test_every_pool_of_the_service_is_there(app: FastAPI, client: httpx.AsyncClient) -> None:
    found = await samples(client)
    pools = {dict(labels).get("pool") for _, labels in found}
    assert {pool.name for pool in app.state.pools} <= pools


async def test_requests_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.get("/health/live")
    await client.get("/nowhere")
    found = await samples(client)
    name = "http_server_request_duration_seconds_count"
    live = {"method": "GET", "route": "/health/live", "status": "200"}
    nowhere = {"method": "GET", "route": "none", "status": "404"}
    assert found[name, frozenset(live.items())] == 1
    assert found[name, frozenset(nowhere.items())] == 1


async def test_methods_that_are_made_up_are_one_series(client: httpx.AsyncClient) -> None:
    for method in ("INVENTED", "MADE-UP"):
        await client.request(method, "/health/live")
    methods = {
        dict(labels).get("method")
        for name, labels in await samples(client)
        if name == "http_server_request_duration_seconds_count"
    }
    assert methods == {"_OTHER"}
