"""Liveness and readiness."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app import health
from app.pools.base import PoolStats
from tests.waiting import until


class SilentPool:
    """A pool whose other side never answers."""

    def __init__(self, name: str, required: bool) -> None:
        self.name = name
        self.required = required
        self.roles: tuple[str, ...] = ()
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        await asyncio.Event().wait()

    def stats(self) -> PoolStats:
        return PoolStats()


async def test_live(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


async def test_every_pool_is_ready(app: FastAPI, client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "pools": {pool.name: "up" for pool in app.state.pools},
    }


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
async def test_a_silent_pool_is_down_and_decides_readiness_only_if_it_is_required(
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    required: bool,
    status: int,
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.1)
    monkeypatch.setattr(health, "FRESH", 0)
    monkeypatch.setattr(app.state, "pools", [SilentPool("silent", required)], raising=False)
    answer = await client.get("/health/ready")
    assert answer.status_code == status
    assert answer.json()["pools"] == {"silent": "down"}


async def test_a_pool_is_asked_once_however_many_want_to_know(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.1)
    monkeypatch.setattr(app.state, "checks", health.Checks(app))
    pool = SilentPool("silent", required=True)
    monkeypatch.setattr(app.state, "pools", [pool], raising=False)
    gone = asyncio.create_task(client.get("/health/ready"))
    await until(lambda: pool.pings == 1)
    gone.cancel()  # leaves the others their answer
    answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(10)))
    assert [answer.status_code for answer in answers] == [503] * 10
    assert (await client.get("/health/ready")).status_code == 503  # known already
    assert pool.pings == 1
    monkeypatch.setattr(health, "FRESH", 0)
    await client.get("/health/ready")
    assert pool.pings == 2
