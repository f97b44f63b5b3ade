"""The state of the database pools."""

import httpx
import pytest
from fastapi import FastAPI

from app import health
from app.pools.postgres import DatabaseStats


async def test_every_database_pool_with_its_figures(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/health/db")
    assert answer.status_code == 200
    databases = [pool for pool in app.state.pools if isinstance(pool.stats(), DatabaseStats)]
    assert set(answer.json()) == {pool.name for pool in databases}
    for pool in answer.json().values():
        assert pool["state"] == "up"
        assert pool["figures"]["checked_out"] == 0
        assert pool["figures"]["size"] >= 1


async def test_one_that_is_down(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping() -> None:
        raise OSError("secret host")

    pool = next(pool for pool in app.state.pools if pool.required)
    monkeypatch.setattr(pool, "ping", ping)
    monkeypatch.setattr(health, "FRESH", 0)
    answer = await client.get("/health/db")
    assert answer.status_code == 503
    assert answer.json()[pool.name]["state"] == "down"
    assert "secret" not in answer.text
