"""The upstream passed on, webhooks sent, and what their failures mean."""

# Goes with the examples.

import gzip

import pytest
from aiohttp import web

from app import __version__
from app.settings import load
from tests.external.conftest import Service, Start
from tests.external.servers import Connection, Upstream, raw_server


async def test_a_resource_is_passed_on(service: Service, upstream: Upstream) -> None:
    answer = await service.client.get("/external/some-thing_1")
    assert (answer.status_code, answer.json()) == (200, {"path": "/some-thing_1"})
    [request] = upstream.requests
    assert request.headers["User-Agent"].endswith(f"/{__version__}")
    assert "X-Webhook-Token" not in request.headers


@pytest.mark.parametrize(
    "resource",
    ["..", "a%2Fb", "a%3Fb=1", "a%23b", "..%3Fq", "a%20b", "a.b", "%2e%2e", "a%0a", "\u00e9"],
)
async def test_nothing_else_reaches_the_upstream(
    service: Service, upstream: Upstream, resource: str
) -> None:
    assert (await service.client.get(f"/external/{resource}")).status_code in (404, 422)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("resource", "status"),
    [("missing", 404), ("broken", 502), ("forbidden", 502), ("text", 502)],
)
async def test_failures_of_the_upstream(
    service: Service, upstream: Upstream, resource: str, status: int
) -> None:
    answer = await service.client.get(f"/external/{resource}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert len(upstream.requests) == 1
    assert service.figures() == (0, 0)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"a": "\\u00e9"}', "application/json", 200),
        (b'{"a": "\xe9"}', "application/problem+json; charset=latin-1", 200),
        (b'{"a": "\xe9"}', "application/json", 502),
        (b"secret", "application/json", 502),
        (b"", "application/json", 502),
        (b"[NaN]", "application/json", 502),
        (b"[" * 100_000, "application/json", 502),
        (b"[]", "application/json; charset=nonsense", 502),
        (b'"\\udc00"', "application/json; charset=unicode_escape", 502),
    ],
)
async def test_only_json_is_passed_on(
    service: Service, upstream: Upstream, body: bytes, content_type: str, status: int
) -> None:
    upstream.answers = [web.Response(body=body, headers={"Content-Type": content_type})]
    answer = await service.client.get("/external/x")
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"a": "\u00e9"}


async def test_compressed_json_is_passed_on(service: Service, upstream: Upstream) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    whole = gzip.compress(b'{"a": 1}')
    upstream.answers = [
        web.Response(body=body, headers=headers) for body in (whole, b"no gzip", b"no gzip") * 2
    ]
    answer = await service.client.get("/external/x")
    assert answer.json() == {"a": 1}
    assert (await service.client.get("/external/x")).json() == {"a": 1}  # at the third attempt
    assert service.figures() == (0, 0)


async def test_an_upstream_that_is_down(service: Service, upstream: Upstream) -> None:
    await upstream.server.close()
    assert (await service.client.get("/external/x")).status_code == 502
    ready = await service.client.get("/health/ready")
    assert ready.json()["pools"]["aiohttp"] == "down"
    assert ready.status_code == 200
    assert service.figures() == (0, 0)
    # The second attempt, and the ping, were told what the first has found out.
    assert service.pool.stats().errors == {"ClientConnectorError": 1, "NotConnected": 1}


async def test_no_cookie_of_one_user_goes_out_with_the_request_of_another(
    service: Service, upstream: Upstream
) -> None:
    answer = web.json_response({"user": "alice"})
    answer.set_cookie("session", "of-alice")
    upstream.answers = [answer]
    for user in ("alice", "bob"):
        assert (await service.client.get(f"/external/{user}")).status_code == 200
    assert [request.headers.get("Cookie") for request in upstream.requests] == [None, None]


async def test_a_redirect_is_not_followed_and_the_token_stays_home(
    service: Service, upstream: Upstream
) -> None:
    elsewhere = Upstream()
    async with elsewhere.server:
        headers = {"Location": f"{elsewhere.url}elsewhere"}
        upstream.answers = [web.Response(status=307, headers=headers) for _ in range(2)]
        answer = await service.client.post("/webhook", json={})
        assert answer.json() == {"status": 307}
        assert (await service.client.get("/external/x")).status_code == 502
        assert upstream.requests[0].headers["X-Webhook-Token"] == "the-token"
        assert elsewhere.requests == []


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "[1e999]"])
async def test_what_is_no_json_is_not_delivered(
    service: Service, upstream: Upstream, value: str
) -> None:
    answer = await service.client.post(
        "/webhook", content=f'{{"value": {value}}}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert upstream.requests == []


async def test_webhooks_use_one_connection_however_large_the_answers(
    service: Service, upstream: Upstream
) -> None:
    for _ in range(11):
        answer = await service.client.post("/webhook", json={"event": "created"})
        assert (answer.status_code, answer.json()) == (200, {"status": 202})
    stats = service.pool.stats()
    assert (stats.connections_created, stats.connections_reused) == (1, 10)
    assert sum(stats.wait.counts) == sum(stats.request.counts) == 11
    assert upstream.bodies == [b'{"event": "created"}'] * 11


async def test_a_webhook_is_delivered_though_its_answer_is_too_long(
    start: Start, upstream: Upstream
) -> None:
    async with start(upstream.url, max_response_size=1000) as service:
        for _ in range(2):
            answer = await service.client.post("/webhook", json={})
            assert answer.json() == {"status": 202}
        stats = service.pool.stats()
        assert (stats.connections_created, stats.errors) == (2, {"TooLong": 2})


async def test_without_an_address_there_is_no_webhook(start: Start, upstream: Upstream) -> None:
    async with start(upstream.url, webhook_url=None) as service:
        assert (await service.client.post("/webhook", json={})).status_code == 503
    assert upstream.requests == []


@pytest.mark.parametrize("key", ["", "a\tb", "\u00e9", "x" * 256])
async def test_a_key_that_no_header_may_hold_is_refused(
    service: Service, upstream: Upstream, key: str
) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    answer = await service.client.post("/webhook", json={}, headers=headers)
    assert answer.status_code == 422
    assert upstream.requests == []


async def test_secrets_are_in_no_log(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    async def garbage(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"garbage\r\n\r\n")

    async with raw_server(garbage) as server:
        url = f"{server.url}secret-path"
        async with start(server.url, webhook_url=url) as service:
            answer = await service.client.post("/webhook", json={})
            assert answer.status_code == 502
            assert "the-token" not in repr(service.pool.settings)
    logged = capsys.readouterr().err
    assert "upstream failed" in logged
    assert "the-token" not in logged
    assert "secret-path" not in logged


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "AIOHTTP__BASE_URL",
            "https://api.example.com/?key=1",
            "AIOHTTP__BASE_URL has a query or a fragment, which no path can follow: remove it, "
            "see .env.example.",
        ),
        (
            "AIOHTTP__SSL_CA",
            __file__,
            "AIOHTTP__SSL_CA holds no certificate: name a file in PEM form.",
        ),
        (
            "AIOHTTP__WEBHOOK_TOKEN",
            "token\n",
            "AIOHTTP__WEBHOOK_TOKEN cannot be sent in a header: remove line ends and what is not "
            "ASCII from it.",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as refusal:
        load()
    assert refusal.value.code == sentence
