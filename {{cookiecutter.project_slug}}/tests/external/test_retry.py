"""What is sent again, how often, and when."""

# Goes with the examples.

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic

import pytest
from aiohttp import web

from app.external.client import retry_after
from tests.external.conftest import Service, Start
from tests.external.servers import Connection, Upstream, raw_server


def busy(status: int = 503, **headers: str) -> web.Response:
    return web.Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_pass_is_asked_again(
    service: Service, upstream: Upstream, status: int
) -> None:
    upstream.answers = [busy(status), busy(status)]
    assert (await service.client.get("/external/x")).status_code == 200
    assert len(upstream.requests) == 3
    assert service.pool.stats().connections_created == 1


async def test_what_does_not_pass_is_an_error(service: Service, upstream: Upstream) -> None:
    upstream.answers = [busy() for _ in range(4)]
    assert (await service.client.get("/external/x")).status_code == 502
    assert len(upstream.requests) == 3


async def test_retry_after_is_honoured(service: Service, upstream: Upstream) -> None:
    started = monotonic()
    upstream.answers = [busy(Retry_After="1")]
    assert (await service.client.get("/external/x")).status_code == 200
    assert 1 <= monotonic() - started < 2


@pytest.mark.parametrize("answers", [1, 2])
async def test_nobody_waits_longer_than_a_request_may_take(
    service: Service, upstream: Upstream, answers: int
) -> None:
    started = monotonic()
    upstream.answers = [*(busy() for _ in range(answers - 1)), busy(Retry_After="60")]
    assert (await service.client.get("/external/x")).status_code == 502
    assert monotonic() - started < 1
    assert len(upstream.requests) == answers


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime.now(UTC)
    assert retry_after("0") == 0
    assert retry_after("120") == 120
    assert retry_after(format_datetime(now + timedelta(seconds=60), usegmt=True)) == pytest.approx(
        60, abs=2
    )
    assert retry_after(format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0
    for nonsense in ("", "soon", "-1", "1.5", "\u00b2", "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert retry_after(nonsense) is True


async def test_kept_connections_that_the_upstream_closes_cost_no_read(start: Start) -> None:
    """However many there are."""

    async def one_answer_each(connection: Connection) -> None:
        await connection.request()
        await connection.answer()
        await connection.request()

    async with raw_server(one_answer_each) as server, start(server.url) as service:
        answers = await asyncio.gather(*(service.client.get("/external/x") for _ in range(10)))
        assert server.connections == 10
        answers.append(await service.client.get("/external/x"))
        assert [answer.status_code for answer in answers] == [200] * 11
        assert server.connections == 11
        assert service.pool.stats().errors == {}
        assert service.figures() == (0, 0)


@pytest.mark.parametrize(("key", "status", "sent"), [(None, 502, 1), ("key-1", 200, 2)])
async def test_a_webhook_is_sent_again_only_with_a_key(
    start: Start, key: str | None, status: int, sent: int
) -> None:
    posts: list[bytes] = []

    async def lose_the_first_post(connection: Connection) -> None:
        while True:
            request = await connection.request()
            if request.startswith(b"POST"):
                posts.append(request)
                if len(posts) == 1:
                    return
            await connection.answer()

    async with raw_server(lose_the_first_post) as server, start(server.url) as service:
        assert (await service.client.get("/external/x")).status_code == 200
        headers = {"Idempotency-Key": key} if key else {}
        answer = await service.client.post("/webhook", json={"n": 1}, headers=headers)
        assert answer.status_code == status
        assert len(posts) == sent
        for post in posts:
            assert post.endswith(b'{"n": 1}')
            assert (b"Idempotency-Key: key-1" in post) == bool(key)
        assert service.figures() == (0, 0)


@pytest.mark.parametrize(
    ("headers", "status", "sent"), [({}, 503, 1), ({"Idempotency-Key": "key-1"}, 202, 2)]
)
async def test_a_busy_webhook_is_asked_again_only_with_a_key(
    service: Service, upstream: Upstream, headers: dict[str, str], status: int, sent: int
) -> None:
    upstream.answers = [busy()]
    answer = await service.client.post("/webhook", json={"n": 1}, headers=headers)
    assert answer.json() == {"status": status}
    assert upstream.bodies == [b'{"n": 1}'] * sent


async def test_an_upstream_in_trouble_is_not_asked_twice_as_often(start: Start) -> None:
    """aiohttp would repeat each attempt by itself."""

    async def hang_up(connection: Connection) -> None:
        await connection.request()

    async with raw_server(hang_up) as server, start(server.url) as service:
        assert (await service.client.get("/external/x")).status_code == 502
        assert server.connections == 3
        assert service.pool.stats().errors == {"ClientConnectionError": 3}
        assert service.figures() == (0, 0)
