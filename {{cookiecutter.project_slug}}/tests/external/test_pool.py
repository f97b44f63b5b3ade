"""The bounds of the pool, and figures that are true whatever happens."""

# Goes with the examples.

import asyncio
import gzip
import socket
import tracemalloc
from contextlib import suppress
from time import monotonic

import pytest

from app.pools import aiohttp, breaker
from app.pools.aiohttp import AiohttpSettings, open_pool
from app.pools.base import Service as Told, Unavailable
from tests.external.conftest import Service, Start
from tests.external.servers import Connection, Script, Upstream, raw_server
from tests.waiting import until

ENDLESS = b"x" * 100_000


async def drip_body(connection: Connection) -> None:
    await connection.request()
    await connection.head("Transfer-Encoding: chunked")
    while True:
        await connection.send_chunk(b" ")
        await asyncio.sleep(0.02)


async def drip_head(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await connection.send(b"x")
        await asyncio.sleep(0.02)


async def say_nothing(connection: Connection) -> None:
    await connection.request()
    await connection.reader.read()


async def never_end(connection: Connection) -> None:
    await connection.request()
    await connection.head("Transfer-Encoding: chunked")
    while True:
        await connection.send_chunk(ENDLESS)


@pytest.mark.parametrize("script", [drip_body, drip_head, say_nothing])
async def test_a_slow_upstream_ends_at_the_total_timeout(start: Start, script: Script) -> None:
    async with raw_server(script) as server, start(server.url, total_timeout=0.3) as service:
        started = monotonic()
        answer = await service.client.get("/external/x")
        assert 0.3 <= monotonic() - started < 4
        assert answer.status_code == 504
        assert service.pool.stats().errors == {"TimeoutError": 1}
        assert service.figures() == (0, 0)
        await until(lambda: server.open == 0)
        assert server.connections == 1


async def test_a_silent_upstream_ends_at_the_read_timeout(start: Start) -> None:
    async with (
        raw_server(say_nothing) as server,
        start(server.url, sock_read_timeout=0.1) as service,
    ):
        assert (await service.client.get("/external/x")).status_code == 504
        assert service.pool.stats().errors == {"SocketTimeoutError": 1}
        assert service.figures() == (0, 0)
        await until(lambda: server.open == 0)


async def test_the_deadline_of_the_request_closes_the_connection(start: Start) -> None:
    async with raw_server(drip_body) as server, start(server.url, request_deadline=0.3) as service:
        assert (await service.client.get("/external/x")).status_code == 504
        await until(lambda: server.open == 0)
        await until(lambda: service.pool.stats().errors == {"CancelledError": 1})
        assert service.figures() == (0, 0)


async def test_an_endless_answer_is_not_read_on(start: Start) -> None:
    async with (
        raw_server(never_end) as server,
        start(server.url, max_response_size=1_000_000) as service,
    ):
        answer = await service.client.get("/external/x")
        assert answer.status_code == 502
        await until(lambda: server.open == 0)
        assert server.connections == 1
        assert service.pool.stats().errors == {"TooLong": 1}
        assert service.figures() == (0, 0)


async def test_a_compressed_answer_is_measured_as_it_is_unpacked(start: Start) -> None:
    bomb = gzip.compress(bytes(100_000_000), compresslevel=1)

    async def send_bomb(connection: Connection) -> None:
        await connection.request()
        await connection.head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
        await connection.send(bomb)
        await connection.reader.read()

    async with (
        raw_server(send_bomb) as server,
        start(server.url, max_response_size=1_000_000) as service,
    ):
        tracemalloc.start()
        try:
            assert (await service.client.get("/external/x")).status_code == 502
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10_000_000
        await until(lambda: server.open == 0)
        assert service.figures() == (0, 0)


async def test_a_connection_is_in_use_until_the_answer_is_complete(start: Start) -> None:
    complete = asyncio.Event()

    async def pause(connection: Connection) -> None:
        await connection.request()
        await connection.head("Content-Length: 2")
        await complete.wait()
        await connection.send(b"{}")

    async with raw_server(pause) as server, start(server.url) as service:
        request = asyncio.create_task(service.client.get("/external/x"))
        await until(lambda: sum(service.pool.stats().request.counts) == 1)  # its head has come
        assert service.figures() == (1, 0)
        complete.set()
        assert (await request).status_code == 200
        assert service.figures() == (0, 0)


async def test_one_more_than_may_wait_is_turned_away_at_once(
    start: Start, upstream: Upstream
) -> None:
    upstream.open.clear()
    async with start(upstream.url, limit_per_host=1, max_waiting=1) as service:
        served = [asyncio.create_task(service.client.get("/external/x")) for _ in range(2)]
        await until(lambda: service.figures() == (1, 1))
        refused = await service.client.get("/external/x")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert service.pool.stats().errors == {"PoolFull": 1}
        assert service.figures() == (1, 1)
        upstream.open.set()
        assert [answer.status_code for answer in await asyncio.gather(*served)] == [200, 200]
        assert service.figures() == (0, 0)
        stats = service.pool.stats()
        assert (stats.connections_created, stats.connections_reused) == (1, 1)
        assert max(index for index, count in enumerate(stats.wait.counts) if count) > 0


@pytest.mark.parametrize(
    "limits", [{"limit_per_host": 1}, {"limit": 1}], ids=["to one host", "to all"]
)
@pytest.mark.parametrize(
    "bound", [{"connect_timeout": 0.2}, {"request_deadline": 2}], ids=["given", "default"]
)
async def test_nobody_waits_longer_for_a_connection_than_is_allowed(
    start: Start, upstream: Upstream, limits: dict[str, int], bound: dict[str, float]
) -> None:
    upstream.open.clear()
    async with start(upstream.url, **limits, **bound) as service:
        held = asyncio.create_task(service.pool.request("GET", upstream.url))
        await until(lambda: service.figures() == (1, 0))
        started = monotonic()
        answer = await service.client.get("/external/x")
        assert 0.2 <= monotonic() - started < 1.5
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert service.pool.stats().errors == {"PoolTimeout": 1}
        assert service.figures() == (1, 0)
        upstream.open.set()
        await held
        assert len(upstream.requests) == 1


async def test_the_kernel_is_told_of_each_connection(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(aiohttp, "keep_alive", lambda _, seconds: told.append(seconds))
    async with start(upstream.url, sock_read_timeout=7) as service:
        assert (await service.client.get("/external/x")).status_code == 200
    assert told == [7]


async def test_a_request_that_gives_up_leaves_nothing_behind(
    start: Start, upstream: Upstream
) -> None:
    upstream.open.clear()
    async with start(upstream.url, limit_per_host=1) as service:
        requests = [asyncio.create_task(service.client.get("/external/x")) for _ in range(3)]
        await until(lambda: service.figures() == (1, 2))
        for request in requests[:2]:
            request.cancel()
        await until(lambda: service.figures() == (1, 0))  # the last has its turn
        upstream.open.set()
        assert (await requests[2]).status_code == 200
        assert service.figures() == (0, 0)
        await asyncio.gather(*requests, return_exceptions=True)


async def test_a_slow_host_does_not_take_the_connections_of_another(
    start: Start, upstream: Upstream
) -> None:
    async with (
        raw_server(say_nothing) as silent,
        start(upstream.url, webhook_url=silent.url, limit_per_host=1) as service,
    ):
        webhook = asyncio.create_task(service.client.post("/webhook", json={}))
        await until(lambda: silent.open == 1)
        assert (await service.client.get("/external/x")).status_code == 200
        webhook.cancel()
        await until(lambda: silent.open == 0)
        assert service.figures() == (0, 0)


async def test_a_busy_pool_is_up_as_long_as_answers_come(start: Start, upstream: Upstream) -> None:
    async def state(service: Service) -> str:
        ready = await service.client.get("/health/ready")
        return str(ready.json()["pools"]["aiohttp"])

    upstream.open.clear()
    async with start(upstream.url, limit_per_host=1, request_deadline=1) as service:
        held = asyncio.create_task(service.pool.request("GET", upstream.url))
        await until(lambda: len(upstream.requests) == 1)
        assert service.figures() == (1, 0)
        assert await state(service) == "up"
        assert len(upstream.requests) == 1  # the ping did not queue behind it

        async def is_down() -> bool:
            return await state(service) == "down"

        async def is_up() -> bool:
            return await state(service) == "up"

        await until(is_down)
        upstream.open.set()
        await held
        await until(is_up)


# More than the kernel's buffers take, of which aiohttp warns.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_closing_is_bounded_though_the_upstream_reads_nothing() -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def stop_reading(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        has_begun.set()
        await may_end.wait()

    async with asyncio.timeout(10), raw_server(stop_reading) as server:
        settings = AiohttpSettings.model_validate({"base_url": server.url})
        told = Told(name="service", version="1", deadline=60, close_timeout=0.2)
        async with open_pool("aiohttp", settings, told) as pool:
            request = asyncio.create_task(pool.request("POST", server.url, json="x" * 20_000_000))
            await has_begun.wait()
            started = monotonic()
        assert 0.2 <= monotonic() - started < 8
        may_end.set()
        with pytest.raises(Unavailable):
            await request


async def test_a_host_that_is_away_is_found_out_once(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PROBE_EVERY", 0.05)
    async with start(upstream.url, webhook_url=f"http://127.0.0.1:{free_port()}/") as service:
        statuses = [(await service.client.post("/webhook", json={})).status_code for _ in range(20)]
        assert set(statuses) == {502}
        # One has tried; the others were told.
        errors = service.pool.stats().errors
        assert errors == {"ClientConnectorError": 1, "NotConnected": 19}
        # Other hosts are not concerned.
        assert (await service.client.get("/external/x")).status_code == 200


async def test_a_host_that_is_back_is_found(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PROBE_EVERY", 0.05)
    port = free_port()
    async with start(f"http://127.0.0.1:{port}/") as service:
        assert (await service.client.get("/external/x")).status_code == 502
        server = await asyncio.start_server(answer_empty, "127.0.0.1", port)
        async with server:

            async def is_back() -> bool:
                return (await service.client.get("/external/x")).status_code == 200

            await until(is_back)
        assert service.figures() == (0, 0)


async def answer_empty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        writer.write(head + b"Connection: close\r\n\r\n{}")
        await writer.drain()
    writer.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
