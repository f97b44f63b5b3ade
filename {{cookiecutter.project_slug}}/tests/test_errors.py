"""Every error is an answer that says nothing about the inside, and a line in the log."""

import io
import json
import logging
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app import logs
from app.main import create_app
from app.pools.base import PoolError, TimedOut
from app.settings import Settings


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs; to be asked for before the service."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    return text


def below(kind: type[PoolError]) -> list[type[PoolError]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *below(sub))]


@pytest.mark.parametrize("kind", below(PoolError))
async def test_pool_errors(app: FastAPI, client: httpx.AsyncClient, kind: type[PoolError]) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise kind("secret-pool", "secret detail")

    answer = await client.get("/broken")
    status = 504 if kind is TimedOut else 503
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.json()["status"] == status
    assert "secret" not in answer.text


async def test_an_answer_does_not_need_a_log(
    stderr: io.StringIO, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(_: str) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(stderr, "write", is_full)
    assert (await client.get("/health/live")).status_code == 200


async def test_the_unexpected(stderr: io.StringIO, app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret detail")

    answer = await client.get("/broken", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json()["detail"] == "Something went wrong here; it has been logged."
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    [error] = [line for line in lines if line["event"] == "unexpected error"]
    assert "secret detail" in error["exception"]
    assert error["request_id"] == "mine"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/health/live", 405)]
)
async def test_routing_errors(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def test_invalid_input_says_where_and_why(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    answer = await client.get("/number/one")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["path", "number"]
    assert "valid integer" in error["msg"]


async def test_the_description_of_the_api_names_problems(client: httpx.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()
    assert "HTTPValidationError" not in str(api)
    for path in api["paths"].values():
        for operation in path.values():
            assert list(operation["responses"]["default"]["content"]) == [
                "application/problem+json"
            ]


async def test_the_log_of_a_request(
    stderr: io.StringIO, app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/number/{number}")
    async def number(number: int) -> int:
        logging.getLogger("some.library").warning("by a library")
        return number

    answer = await client.get("/number/1", headers={"X-Request-ID": "not legal: blanks"})
    request_id = answer.headers["x-request-id"]
    assert len(request_id) == 32
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    library, request = lines[-2:]
    assert library["event"] == "by a library"
    assert library["request_id"] == request_id
    assert request["event"] == "request"
    assert request["method"] == "GET"
    assert request["route"] == "/number/{number}"
    assert request["status"] == 200
    assert 0 < request["duration"] < 5
    assert request["request_id"] == request_id


async def test_the_log_of_a_request_is_what_would_be_logged(
    stderr: io.StringIO, app: FastAPI
) -> None:
    for route in (app.routes[0], None):
        scope = {"method": "GET", "state": {"request_id": "mine"}, "route": route}
        logs._request.set(scope)
        logs.log_request(scope, 200, 0.12345678)
        logs.write_request(stderr, scope, 200, 0.12345678)
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert len(lines) == 4
    for logged, written in zip(lines[::2], lines[1::2], strict=True):
        assert list(logged) == list(written)
        assert logged | {"timestamp": written["timestamp"]} == written


async def test_a_person_gets_a_log_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stderr)
    app = create_app(Settings())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service"
    ) as client:
        await client.get("/health/live")
    [line] = stderr.getvalue().splitlines()
    assert "request" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("says_how_long", [True, False])
async def test_a_body_that_is_too_long_is_not_read(
    app: FastAPI, client: httpx.AsyncClient, says_how_long: bool
) -> None:
    sent = 0

    @app.post("/body")
    async def body(body: dict[str, str]) -> None:
        """Never gets that far."""

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * 2**20

    headers = {"Content-Type": "application/json"}
    if says_how_long:
        headers["Content-Length"] = str(100 * 2**20)
    answer = await client.post("/body", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert answer.headers["content-type"] == "application/problem+json"
    assert sent <= 12
