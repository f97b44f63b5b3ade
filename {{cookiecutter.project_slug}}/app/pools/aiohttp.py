"""The pool for outgoing HTTP: one aiohttp session, which keeps connections to the upstreams."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import structlog
from fastapi import Depends, Request
from pydantic import AnyHttpUrl, Field, FilePath, JsonValue, SecretStr, field_validator

from app.pools.base import (
    Durations,
    NotConnected,
    Pool,
    PoolError,
    PoolSettings,
    PoolStats,
    Service,
    Slots,
    TimedOut,
    Unavailable,
    figure,
)
from app.pools.breaker import Breaker
from app.pools.sockets import keep_alive

log = structlog.get_logger(__name__)

# What the pool may send again by itself (RFC 9110), as it has no body that would be used up.
REPEATABLE = ("GET", "HEAD")


class AiohttpSettings(PoolSettings):
    """The pool for outgoing HTTP."""

    required = False

    base_url: AnyHttpUrl = Field(
        description="The upstream of `/external`. Required: there is no sensible default.",
        examples=["https://api.example.com"],
    )
    limit: int = Field(
        100,
        ge=1,
        description="Connections to all hosts together, per worker; more requests wait. Five times "
        "the limit per host, so that it bounds only a service with many upstreams.",
    )
    limit_per_host: int = Field(
        20,
        ge=1,
        description="Connections to one host, per worker, so that a slow one cannot take them all: "
        "requests per second times seconds that each takes, divided by 0.7.",
    )
    max_waiting: int = Field(
        100,
        ge=0,
        description="How many requests may wait for a connection to one host; the next one gets "
        "its 503 at once. Five for each connection of the default limit: at 0.1 s a request the "
        "last of them waits 0.5 s, and longer queues hold only requests that time out.",
    )
    keepalive_timeout: float = Field(
        30,
        gt=0,
        description="Seconds that an idle connection is kept: it outlasts a lull. Keep it below "
        "the upstream's own, or requests meet connections that are being closed.",
    )
    ttl_dns_cache: int = Field(
        300,
        ge=0,
        description="Seconds that an address is remembered. Few look-ups; a move of the upstream "
        "takes as long to be seen.",
    )
    total_timeout: float = Field(
        30,
        gt=0,
        description="Seconds for a request, from its turn in the queue to the end of its answer: "
        "the only bound on an answer that drips. A bound for work of any length; the deadline of "
        "the request that is served ends it earlier.",
    )
    connect_timeout: float = Field(
        10,
        gt=0,
        description="Seconds to wait for a connection, and again to open one, TLS included. At "
        "most 0.4 of `REQUEST_DEADLINE`, so that an answer still fits in after it.",
    )
    sock_read_timeout: float = Field(
        20,
        gt=0,
        description="Seconds between two pieces of an answer. Below the total, so that an upstream "
        "that fell silent is told from one that is slow.",
    )
    sock_connect_timeout: float = Field(
        5,
        gt=0,
        description="Seconds to reach one address of a host. Half of the time to connect, so that "
        "a second address has its chance.",
    )
    max_response_size: int = Field(
        10 * 1024 * 1024,
        ge=1,
        description="Bytes of an answer's body, decompressed; a longer one is not read on, and its "
        "connection is closed. 10 MiB are more than a page of any API; times the limit per host, "
        "it bounds the memory that answers take.",
    )
    ssl_ca: FilePath | None = Field(
        None,
        description="File with the CA of the upstreams' certificates, which no other is trusted "
        "beside. Default: the system's; certificates and host names are always verified.",
    )
    webhook_url: AnyHttpUrl | None = Field(
        None, description="Where `/webhook` posts to. Default: nowhere, it answers 503."
    )
    webhook_token: SecretStr | None = Field(
        None, description="Sent as `X-Webhook-Token`, to that address only. Default: none."
    )

    @field_validator("base_url")
    @classmethod
    def ends_with_a_path(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        if url.query is not None or url.fragment is not None:
            raise ValueError(
                "has a query or a fragment, which no path can follow: remove it, see .env.example"
            )
        return url

    @field_validator("ssl_ca")
    @classmethod
    def holds_certificates(cls, file: Path | None) -> Path | None:
        try:
            verifying(file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ValueError("holds no certificate: name a file in PEM form") from error
        return file

    @field_validator("webhook_token")
    @classmethod
    def fits_in_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        value = token.get_secret_value() if token else ""
        if not (value.isascii() and value.isprintable()):
            raise ValueError(
                "cannot be sent in a header: remove line ends and what is not ASCII from it"
            )
        return token

    def open(
        self, name: str, service: Service, _: Mapping[str, Pool]
    ) -> AbstractAsyncContextManager[Pool]:
        return open_pool(name, self, service)


def verifying(ca: Path | None) -> ssl.SSLContext | bool:
    """How certificates and host names are verified: against a CA, or as aiohttp does by itself."""
    if ca is None:
        return True
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True)
class HttpStats(PoolStats):
    """The figures of a pool of HTTP connections."""

    prefix = "http_pool"

    limit: int = figure("Connections that the pool may open.")
    in_use: int = figure("Connections in use, those being opened included.")
    waiting: int = figure("Requests waiting for a connection.")
    wait: Durations = figure("Time that requests waited for a connection, opening it included.")
    request: Durations = figure("Time from the start of a request to the head of its answer.")
    connections_created: int = figure("Connections opened.", total=True)
    connections_reused: int = figure("Requests that found an open connection.", total=True)
    errors: Mapping[str, int] = figure("Failures, by type.", total=True, by="type")


@dataclass(frozen=True)
class Answer:
    """What an upstream answered, read whole."""

    status: int
    headers: Mapping[str, str]
    content_type: str
    charset: str
    body: bytes | None
    """None when it was longer than allowed."""


@dataclass(eq=False)
class Call:
    """What is known of a request on its way."""

    started: float
    is_reused: bool = False
    """Whether its connection had served another request before."""


@dataclass(eq=False)
class Host:
    """A host, who talks to it, and whether it can be reached."""

    slots: Slots
    breaker: Breaker
    callers: int = 0


class AiohttpPool:
    """An open pool, which makes requests.

    Slots stand in front of aiohttp's own limits: its queue has no limit in length, and when a
    request gives up just as it is woken, the next in the queue sleeps on beside a free connection.
    """

    def __init__(self, name: str, settings: AiohttpSettings, service: Service) -> None:
        self.name = name
        self.required = settings.required
        self.roles = settings.roles
        self.settings = settings
        self._service = service
        self._connect_timeout = min(settings.connect_timeout, 0.4 * service.deadline)
        self._slots = self._new_slots(settings.limit)
        # Those that are being talked to just now, or looked for.
        self._hosts: dict[tuple[str, str], Host] = {}
        self._wait = Durations()
        self._request = Durations()
        self._created = 0
        self._reused = 0
        self._errors: Counter[str] = Counter()
        self._last_answer = monotonic()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.limit,
                limit_per_host=settings.limit_per_host,
                keepalive_timeout=settings.keepalive_timeout,
                ttl_dns_cache=settings.ttl_dns_cache,
                ssl=verifying(settings.ssl_ca),
                socket_factory=self._socket,
            ),
            timeout=aiohttp.ClientTimeout(
                total=settings.total_timeout,
                connect=self._connect_timeout,
                sock_read=settings.sock_read_timeout,
                sock_connect=settings.sock_connect_timeout,
                ceil_threshold=inf,  # not rounded up to whole seconds
            ),
            # One user's cookies must not go out with another's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"{service.name}/{service.version}"},
            trace_configs=[self._trace()],
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: JsonValue = None,
    ) -> Answer:
        """The answer, read whole, so that its connection is free for the next request.

        A redirect is an answer like any other: whoever follows it decides what goes to the other
        host. Raises PoolFull, PoolTimeout, Unavailable or TimedOut.
        """
        call = Call(monotonic())
        try:
            async with (
                self._place(url),
                self._session.request(
                    method,
                    url,
                    headers=headers,
                    json=json,
                    allow_redirects=False,
                    trace_request_ctx=call,
                    middlewares=(self._sending(call),),
                ) as response,
            ):
                self._request.observe(monotonic() - call.started)
                body = await self._read(response)
        except (PoolError, aiohttp.ClientError, OSError, asyncio.CancelledError) as error:
            self._errors[type(error).__name__] += 1
            if isinstance(error, TimeoutError):
                raise TimedOut(self.name, type(error).__name__) from error
            if isinstance(error, aiohttp.ClientError | OSError):
                raise Unavailable(self.name, described(error)) from error
            raise
        self._last_answer = monotonic()
        return Answer(
            status=response.status,
            headers=response.headers,
            content_type=response.content_type,
            charset=response.charset or "utf-8",
            body=body,
        )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The body, piece by piece: `response.read()` unpacks whatever comes, without a limit."""
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > self.settings.max_response_size:
                response.close()
                self._errors["TooLong"] += 1
                return None
        return bytes(body)

    async def ping(self) -> None:
        """Any answer of the upstream is a sign of life; so is one that came while all are busy."""
        url = str(self.settings.base_url)
        slots = [self._slots]
        if host := self._hosts.get(key_of(url)):
            await host.breaker.wait(self.name, patience=0)
            slots.append(host.slots)
        if all(each.taken < each.size for each in slots):
            await self.request("HEAD", url)
        elif monotonic() - self._last_answer > self._service.deadline:
            raise Unavailable(self.name, "all connections are busy and no answer came of late")

    def stats(self) -> HttpStats:
        return HttpStats(
            limit=self._slots.size,
            in_use=self._slots.taken,
            waiting=sum(slots.waiting for slots in self._all_slots()),
            wait=self._wait,
            request=self._request,
            connections_created=self._created,
            connections_reused=self._reused,
            errors=dict(self._errors),
        )

    async def close(self) -> None:
        """Close all connections; one that cannot even be closed is left to the process's end."""
        for host in self._hosts.values():
            await host.breaker.stop()
        try:
            async with asyncio.timeout(self._service.close_timeout):
                await self._session.close()
        except TimeoutError:
            log.warning("not closed in time", pool=self.name)

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        new = socket.socket(family, kind, protocol)
        keep_alive(new, self.settings.sock_read_timeout)
        return new

    def _new_slots(self, size: int) -> Slots:
        return Slots(self.name, size, self.settings.max_waiting, self._connect_timeout)

    def _all_slots(self) -> Iterator[Slots]:
        yield self._slots
        for host in self._hosts.values():
            yield host.slots

    @asynccontextmanager
    async def _place(self, url: str) -> AsyncIterator[None]:
        """A place among those of the URL's host, and one among all.

        Raises NotConnected at once while the host is known to be away. What is known of a host is
        forgotten once there is nothing to know. Three contexts in one, as each takes its time.
        """
        key = key_of(url)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = self._new_host(url)
        host.callers += 1
        try:
            await host.breaker.wait(self.name, patience=0)
            if not host.slots.take():
                await host.slots.wait()
            try:
                if not self._slots.take():
                    await self._slots.wait()
                try:
                    yield
                finally:
                    self._slots.give_back()
            finally:
                host.slots.give_back()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if not isinstance(error, aiohttp.ClientSSLError):  # for which somebody is there
                host.breaker.trip(NotConnected(self.name, described(error)))
            raise
        finally:
            host.callers -= 1
            if not host.callers and not host.breaker.is_tripped:
                del self._hosts[key]

    def _new_host(self, url: str) -> Host:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        probe = partial(self._probe, parts.hostname or "", port)
        return Host(self._new_slots(self.settings.limit_per_host), Breaker(self.name, probe))

    async def _probe(self, host: str, port: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise NotConnected(self.name, type(error).__name__) from error
        writer.close()

    def _sending(self, call: Call) -> aiohttp.ClientMiddlewareType:
        """Send a request that may be repeated until a connection takes it that was not idle.

        An upstream closes idle connections, and a new one has closed them all. One that is lost
        when it is new tells of an upstream in trouble: `Retry` knows when to stop. aiohttp's own
        retry, once and without a word, is for neither.
        """

        async def send(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            while True:
                try:
                    return await handler(request)
                except aiohttp.ClientConnectorError:
                    raise
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                    if not call.is_reused or request.method not in REPEATABLE:
                        raise aiohttp.ClientConnectionError(type(error).__name__) from error

        return send

    def _trace(self) -> aiohttp.TraceConfig:
        def connected(context: SimpleNamespace, *, is_reused: bool) -> None:
            call = context.trace_request_ctx
            call.is_reused = is_reused
            self._wait.observe(monotonic() - call.started)

        async def created(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
            self._created += 1
            connected(context, is_reused=False)

        async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
            self._reused += 1
            connected(context, is_reused=True)

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(created)
        trace.on_connection_reuseconn.append(reused)
        return trace


def key_of(url: str) -> tuple[str, str]:
    """Its scheme and host."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def described(error: Exception) -> str:
    """For the log. Others than these have the URL in their text, which may hold a secret."""
    return str(error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__


@asynccontextmanager
async def open_pool(
    name: str, settings: AiohttpSettings, service: Service
) -> AsyncIterator[AiohttpPool]:
    pool = AiohttpPool(name, settings, service)
    try:
        yield pool
    finally:
        await pool.close()


async def http_pool(request: Request) -> AiohttpPool:
    pool = request.state.aiohttp
    assert isinstance(pool, AiohttpPool)
    return pool


HttpPool = Annotated[AiohttpPool, Depends(http_pool)]
