"""Calls to the upstream and the webhook, and what their failures mean to our own clients."""

# Goes with the examples.

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar

import structlog
from pydantic import JsonValue

from app.errors import Problem
from app.pools.aiohttp import AiohttpPool, Answer
from app.pools.base import NotConnected, Unavailable
from app.retry import Retry, Verdict

log = structlog.get_logger(__name__)

# Statuses of an upstream, or of a proxy before it, that may be another one soon.
PASSING = frozenset({429, 502, 503, 504})


class UpstreamFailed(Problem):
    status: ClassVar[int] = 502


class ResourceNotFound(Problem):
    status: ClassVar[int] = 404


class NoWebhook(Problem):
    status: ClassVar[int] = 503


class NotNow(Exception):
    """The upstream answered that another time may be better."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


async def fetch(pool: AiohttpPool, retry: Retry, resource: str) -> bytes:
    """The upstream's JSON, as it is.

    Raises ResourceNotFound, UpstreamFailed, PoolFull, PoolTimeout or TimedOut.
    """
    url = f"{str(pool.settings.base_url).rstrip('/')}/{resource}"
    answer = await call(pool, retry, "GET", url)
    if answer.status == 404:
        raise ResourceNotFound("The upstream has no such resource.")
    if not 200 <= answer.status < 300:
        raise failed(pool, f"status {answer.status}", "The upstream answered with an error.")
    if answer.body is None:
        raise failed(pool, "too long", "The upstream's answer is too long.")
    if answer.content_type != "application/json" and not answer.content_type.endswith("+json"):
        raise failed(pool, answer.content_type, "The upstream's answer is not JSON.")
    try:
        text = answer.body.decode(answer.charset)
        json.loads(text, parse_constant=refuse)
        return text.encode()
    except (LookupError, ValueError, RecursionError) as error:
        raise failed(pool, type(error).__name__, "The upstream's answer is not JSON.") from error


async def send_webhook(
    pool: AiohttpPool, retry: Retry, payload: dict[str, JsonValue], idempotency_key: str | None
) -> int:
    """The receiver's status. Sent again only with a key by which it knows what it has already.

    Raises NoWebhook, UpstreamFailed, PoolFull, PoolTimeout or TimedOut.
    """
    settings = pool.settings
    if settings.webhook_url is None:
        raise NoWebhook("No webhook is configured.")
    headers = {}
    if settings.webhook_token:
        headers["X-Webhook-Token"] = settings.webhook_token.get_secret_value()
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    answer = await call(
        pool,
        retry if idempotency_key else None,
        "POST",
        str(settings.webhook_url),
        headers=headers,
        payload=payload,
    )
    return answer.status


async def call(
    pool: AiohttpPool,
    retry: Retry | None,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    payload: JsonValue = None,
) -> Answer:
    """The answer; with `retry`, the request is repeated after failures that may pass.

    Not when no connection was free, which would make the queue longer, and not after a timeout,
    which has taken the time.
    """

    async def attempt() -> Answer:
        answer = await pool.request(method, url, headers=headers, json=payload)
        if retry and answer.status in PASSING:
            raise NotNow(answer)
        return answer

    try:
        return await (retry(attempt, verdict) if retry else attempt())
    except NotNow as error:
        return error.answer
    except Unavailable as error:
        raise failed(pool, str(error), "The upstream cannot be reached, or broke off.") from error


def verdict(error: Exception) -> Verdict:
    if isinstance(error, NotNow):
        return retry_after(error.answer.headers.get("Retry-After", ""))
    # While the host is away its pool asks for it; whoever asks meanwhile is told at once.
    return isinstance(error, Unavailable) and not isinstance(error, NotConnected)


def retry_after(value: str) -> Verdict:
    """The seconds to wait that a header asks for, which has them or a date (RFC 9110)."""
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value).replace(tzinfo=UTC)  # HTTP's dates are all GMT
    except ValueError:
        return True
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def refuse(constant: str) -> None:
    """NaN and Infinity: Python reads them, JSON does not know them."""
    raise ValueError(constant)


def failed(pool: AiohttpPool, reason: str, detail: str) -> UpstreamFailed:
    log.warning("upstream failed", pool=pool.name, reason=reason)
    return UpstreamFailed(detail)
