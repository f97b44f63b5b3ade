"""Transactions run again on a real server: conflicts, a lost COMMIT, a restart."""

# Goes with the examples.

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from app.databases import Writer
from app.pools.postgres import Connection
from app.retry import RetrySettings
from app.settings import Settings
from tests.database.proxy import Proxy
from tests.users.conftest import primary
from tests.waiting import until


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    settings = Settings()
    settings.primary.url = SecretStr(proxy.url)
    settings.retry = RetrySettings(attempts=20, base_delay=0.02)
    return settings


@pytest.fixture
async def user(observer: Connection) -> int:
    query = "INSERT INTO users (name, email) VALUES ('x', 'x@example.com') RETURNING id"
    return int(await observer.fetchval(query))


async def test_visits_at_the_same_time_are_all_counted(
    app: FastAPI, client: httpx.AsyncClient, observer: Connection, user: int
) -> None:
    visits = [client.post(f"/users/{user}/visits") for _ in range(20)]
    answers = await asyncio.gather(*visits)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert sorted(answer.json()["visits"] for answer in answers) == list(range(1, 21))
    assert await observer.fetchval("SELECT visits FROM users") == 20
    stats = primary(app).stats()
    assert stats.errors["Conflict"] > 0
    assert stats.checked_out == 0


async def test_a_visit_of_nobody(client: httpx.AsyncClient) -> None:
    assert (await client.post("/users/1/visits")).status_code == 404


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_commit_whose_answer_is_lost(
    app: FastAPI,
    client: httpx.AsyncClient,
    proxy: Proxy,
    observer: Connection,
    idempotent: bool,
) -> None:
    @app.post("/payments")
    async def pay(writer: Writer) -> None:
        again = "ON CONFLICT DO NOTHING" if idempotent else ""
        insert = text(f"INSERT INTO users (name, email) VALUES ('p', 'payment-1') {again}")
        await writer.run(lambda session: session.execute(insert), idempotent=idempotent)

    proxy.lose_answer_to = b"COMMIT;"
    request = asyncio.create_task(client.post("/payments"))
    await until(lambda: primary(app).stats().errors.get("Unavailable", 0) > 0)
    proxy.lose_answer_to = None
    answer = await request
    assert answer.status_code == (200 if idempotent else 503)
    if not idempotent:
        assert answer.json()["detail"].startswith("Whether this was stored is not known")
    assert await observer.fetchval("SELECT count(*) FROM users") == 1
    assert primary(app).stats().checked_out == 0


async def test_a_connection_lost_before_the_commit_costs_nothing(
    app: FastAPI, client: httpx.AsyncClient, proxy: Proxy, user: int
) -> None:
    assert (await client.post(f"/users/{user}/visits")).json() == {"visits": 1}
    proxy.lose_answer_to = b"BEGIN"
    request = asyncio.create_task(client.post(f"/users/{user}/visits"))
    await until(lambda: primary(app).stats().errors.get("Unavailable", 0) > 0)
    proxy.lose_answer_to = None
    assert (await request).json() == {"visits": 2}
