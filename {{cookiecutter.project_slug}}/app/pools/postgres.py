"""What the pools of PostgreSQL connections share: settings, connecting, names for failures."""

import asyncio
import random
import re
import ssl
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, pairwise
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import structlog
from pydantic import AfterValidator, Field, FilePath, SecretStr

from app.pools import sockets
from app.pools.base import (
    Conflict,
    Contended,
    Durations,
    NotConnected,
    Pool,
    PoolError,
    PoolSettings,
    PoolStats,
    Refused,
    Service,
    Silent,
    Slots,
    TimedOut,
    Unavailable,
    figure,
    span,
)
from app.pools.breaker import Breaker
from app.pools.holds import Holds

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

log = structlog.get_logger(__name__)

# Connections that were opened together are not all replaced together.
JITTER = 0.1

# What the driver raises when a server, or the way to it, is in trouble.
DRIVER_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said goodbye, and has not hung up yet
)

# After these another host of the same URL may do; after others, such as a wrong password, none.
TRY_NEXT_HOST = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)

# Seconds to connect to a host where there are others: enough for round trips across an ocean, and
# after two silent ones a check of readiness still reaches the third.
BRIEFLY = 0.4

# What no other attempt changes: the role, its password, the database.
REFUSALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)

SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")


def checked_url(url: SecretStr) -> SecretStr:
    """The URL itself. Raises ValueError, which shows no more of it than the scheme."""
    scheme, separator, rest = url.get_secret_value().partition("://")
    remedy = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    if not separator:
        raise ValueError(f"is not a URL: {remedy}")
    if scheme not in SCHEMES:
        raise ValueError(f"has the scheme {scheme}://, not postgresql://: {remedy}")
    if "@" in rest.rpartition("@")[0]:
        raise ValueError("has an @ in the password: write it as %40")
    hosts = urlsplit(f"//{rest}").netloc.rpartition("@")[2].split(",")
    if not all(re.fullmatch(r"(\[.*\]|[^:]*)(:\d+)?", host) for host in hosts):
        raise ValueError(f"has a port that is no number: {remedy}")
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(checked_url)]
UrlFile: TypeAlias = FilePath


def read_url(file: Path, variable: str) -> SecretStr:
    """The URL in a file. Raises ValueError, which names the variable that names the file."""
    try:
        return checked_url(SecretStr(file.read_text().strip()))
    except OSError as error:
        raise ValueError(f"{variable}: the file cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{variable}: what is in the file {error}") from None


def dsn(url: SecretStr) -> str:
    """The URL as asyncpg reads it: its own scheme, all hosts of `?host=A&host=B` in one list."""
    _, _, rest = url.get_secret_value().partition("://")
    parts = urlsplit(f"postgresql://{rest}")
    query = parse_qsl(parts.query)
    hosts = [value for key, value in query if key == "host"]
    others = [(key, value) for key, value in query if key != "host"]
    if hosts:
        others.append(("host", ",".join(hosts)))
    return parts._replace(query=urlencode(others)).geturl()


class Attempt(NamedTuple):
    """A URL with one host, and for how many seconds it is tried."""

    dsn: str
    target_session_attrs: str | None = None
    """None: as the URL says."""
    seconds: float = inf


def attempts(dsn: str) -> list[Attempt]:
    """The hosts of a URL one by one, briefly at first, then with patience.

    In one attempt, a first host that is silent would take the time of the others.
    """
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    credentials, at, netloc = parts.netloc.rpartition("@")
    if netloc:
        each = [parts._replace(netloc=f"{credentials}{at}{host}") for host in netloc.split(",")]
    else:
        hosts, ports = (query.get(key, "").split(",") for key in ("host", "port"))
        if len(ports) not in (1, len(hosts)):
            return [Attempt(dsn)]  # the driver says what is wrong with it
        places = [{"host": host, "port": port} for host, port in zip(hosts, cycle(ports))]
        each = [parts._replace(query=urlencode(query | place)) for place in places]
    if len(each) == 1:
        return [Attempt(dsn)]
    rounds: list[tuple[str | None, float]] = [(None, BRIEFLY), (None, inf)]
    if query.get("target_session_attrs") == "prefer-standby":
        rounds = [("standby", BRIEFLY), ("any", BRIEFLY), ("any", inf)]
    return [Attempt(host.geturl(), *how) for how in rounds for host in each]


class Timeouts(NamedTuple):
    """In seconds; the first three are in ascending order and below the request's deadline."""

    lock: float
    statement: float
    command: float
    connect: float
    acquire: float
    ping: float
    idle_in_transaction: float
    leak: float


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DatabaseSettings(PoolSettings):
    """What every pool of PostgreSQL connections can be told."""

    inherits_url: ClassVar[bool] = True
    """Whether DATABASE_URL is meant where there is no URL of its own."""

    read_only: ClassVar[bool] = False
    """Whether the server refuses to write for this pool."""

    waits_for_server: ClassVar[bool] = True
    """Whether a restart of the server is waited out, since no other can do its work."""

    url: DatabaseUrl | None = Field(
        None,
        description="Where the database is. Default: `DATABASE_URL`, so that one variable will do.",
    )
    url_file: UrlFile | None = Field(
        None,
        description="A file with the URL, instead of the variable. It is read again for each "
        "connection, so that a new password needs no restart.",
    )
    ping_after_idle: float = Field(
        30,
        ge=0,
        description="A connection that was idle for more seconds than this is tested before use. "
        "A busy one is not: the test would double what a read costs.",
    )
    max_waiting: int = Field(
        100,
        ge=0,
        description="How many requests may wait for a connection; the next one gets its 503 at "
        "once. Five for each connection of the default size: at 0.1 s a request the last of them "
        "waits 0.5 s, and longer queues hold only requests that time out.",
    )
    connect_timeout: Seconds | None = Field(
        None,
        description="Seconds to connect and log in. Default: 0.4 of `REQUEST_DEADLINE`, so that "
        "a query still fits in after it.",
    )
    lock_timeout: Seconds | None = Field(
        None,
        description="Seconds that the server waits for a lock. Default: 0.4 of "
        "`REQUEST_DEADLINE`: the lowest of the three, so that its error is the one that is seen.",
    )
    statement_timeout: Seconds | None = Field(
        None,
        description="Seconds that the server gives a statement. Default: 0.6 of "
        "`REQUEST_DEADLINE`, so that the server ends the work before the client stops waiting.",
    )
    command_timeout: Seconds | None = Field(
        None,
        description="Seconds that the client waits for an answer, or for a server that restarts. "
        "Default: 0.8 of `REQUEST_DEADLINE`: only a server that is silent gets that far.",
    )
    idle_in_transaction_timeout: Seconds | None = Field(
        None,
        description="Seconds after which the server ends a session that forgot its transaction. "
        "Default: `REQUEST_DEADLINE`: no request has a use for it any longer.",
    )
    leak_threshold: Seconds | None = Field(
        None,
        description="Seconds after which a connection that was not given back is logged, with who "
        "took it, and counted as a leak. Default: twice `REQUEST_DEADLINE`: the deadline has ended "
        "all that is well long before.",
    )
    application_name: str | None = Field(
        None,
        max_length=63,
        description="The name in `pg_stat_activity`. Default: the service's name and the pool's.",
    )
    pgbouncer: bool = Field(
        False,
        description="Whether PgBouncer in transaction mode is in between. Then no session state is "
        "relied on: all work is in transactions, without prepared statements that are kept, and "
        "timeouts are set by `ALTER ROLE … SET` instead. Default: `DATABASE_PGBOUNCER`, with the "
        "URL.",
    )
    ssl_ca: FilePath | None = Field(
        None,
        description="File with the CA of the server's certificate; when given, certificate and "
        "host name are verified. Default: as the URL's `sslmode` says.",
    )

    _processes: int = 1

    @property
    def enabled(self) -> bool:
        return self.url is not None

    @property
    def processes(self) -> int:
        """How many processes have such a pool: `WEB_CONCURRENCY` times `INSTANCES`."""
        return self._processes

    @property
    @abstractmethod
    def wait_timeout(self) -> float | None:
        """Seconds to wait for a connection; each kind of pool has its own name for it."""

    @property
    @abstractmethod
    def lifetime(self) -> float:
        """Seconds that a connection lives; each kind of pool has its own name for it."""

    def complete(self, name: str, settings: Mapping[str, Any]) -> None:
        variable = f"{name}__URL".upper()
        if self.inherits_url and not (self.url or self.url_file):
            variable = "DATABASE_URL"
            self.url, self.url_file = settings["database_url"], settings["database_url_file"]
            self.pgbouncer = self.pgbouncer or settings["database_pgbouncer"]
            if not (self.url or self.url_file):
                raise ValueError(
                    "DATABASE_URL is not set: set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
                    f" (or set {name.upper()}__URL)"
                )
        if self.url_file:
            if self.url:
                raise ValueError(f"{variable} and {variable}_FILE are both set: remove one of them")
            self.url = read_url(self.url_file, f"{variable}_FILE")
        self._processes = settings["web_concurrency"] * settings["instances"]
        self.timeouts(name, settings["request_deadline"])

    def limit(self, request_deadline: float) -> tuple[float, str]:
        """The seconds that all timeouts are fractions of and stay below, and what sets them."""
        return request_deadline, "REQUEST_DEADLINE"

    def timeouts(self, name: str, request_deadline: float) -> Timeouts:
        """All timeouts, where those not given keep their place between those that are.

        Raises ValueError when given ones are in the wrong order.
        """
        deadline, set_by = self.limit(request_deadline)
        given: list[tuple[float, float, str]] = [(0, 0, "")]
        fractions = {"lock_timeout": 0.4, "statement_timeout": 0.6, "command_timeout": 0.8}
        for field, fraction in fractions.items():
            if (seconds := getattr(self, field)) is not None:
                given.append((fraction, seconds, f"{name}__{field}".upper()))
        given.append((1, deadline, set_by))
        steps = list(pairwise(given))
        for (_, lower, first), (_, upper, second) in steps:
            if lower >= upper:
                raise ValueError(
                    f"{first} ({lower:g} s) has to be less than {second} ({upper:g} s): "
                    f"lower {first} or raise {second}"
                )

        def place(fraction: float) -> float:
            for (low, lower, _), (high, upper, _) in steps:
                if low < fraction <= high:
                    return lower + (upper - lower) * (fraction - low) / (high - low)
            raise AssertionError("fractions lie between 0 and 1")

        lock, statement, command = map(place, fractions.values())
        return Timeouts(
            lock=lock,
            statement=statement,
            command=command,
            connect=self.connect_timeout or 0.4 * deadline,
            acquire=self.wait_timeout or 0.4 * deadline,
            ping=0.1 * deadline,
            idle_in_transaction=self.idle_in_transaction_timeout or deadline,
            leak=self.leak_threshold or 2 * max(deadline, request_deadline),
        )


# What a pool asks its server for a sign of life.
SERVER = """
SELECT pg_postmaster_start_time() AS started,
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int
        + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved
"""


class Server(NamedTuple):
    """A server that pools connect to, and for how many connections it has room."""

    started: datetime
    """To the microsecond: by this two pools know that they share a server."""
    max_connections: int
    reserved: int
    """Connections that are kept for superusers."""

    @property
    def limit(self) -> int:
        return self.max_connections - self.reserved


@dataclass(frozen=True)
class DatabaseStats(PoolStats):
    """The figures of a pool of database connections."""

    prefix = "db_pool"

    size: int = figure("Open connections.")
    checked_out: int = figure("Connections in use.")
    idle: int = figure("Open connections that are not in use.")
    overflow: int = figure("Open connections beyond the pool size.")
    max: int = figure("Connections that the pool may open.")
    waiting: int = figure("Callers waiting for a connection.")
    checkout: Durations = figure("Time to acquire a connection: queue, ping and connect.")
    hold: Durations = figure("Time from taking a connection to giving it back.")
    connect: Durations = figure("Time to open a connection.")
    timeouts: int = figure("Callers that got no connection in time.", total=True)
    rejected: int = figure("Callers turned away because the queue was full.", total=True)
    leaks: int = figure("Connections held for longer than the leak threshold.", total=True)
    budget: int = figure(
        "Connections that the pools at this pool's server may open, all processes together."
    )
    budget_limit: int | None = figure("Connections that this pool's server has room for.")
    errors: Mapping[str, int] = figure("Failures, by type.", total=True, by="type")
    closed: Mapping[str, int] = figure("Connections closed, by reason.", total=True, by="reason")


class TrackedConnection(Connection):
    """A connection that knows what its pool has to know of it."""

    __slots__ = ("closed_because", "due", "expires", "in_use", "needs_reset", "used")

    closed_because: str
    """Why it was closed; "lost" as long as nobody here has closed it."""
    due: float
    """When it has to go back to the driver's pool, and not to the next read."""
    expires: float
    in_use: bool
    needs_reset: bool
    """Whether something may have been said since it was taken that changes a session."""
    used: float
    _transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closed_because = "lost"
        self.needs_reset = True

    def get_reset_query(self) -> str:
        return super().get_reset_query() if self.needs_reset else ""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        self._is_unwanted()
        await super().close(timeout=timeout)

    def terminate(self) -> None:
        self._is_unwanted()
        super().terminate()

    def _is_unwanted(self) -> None:
        if self.closed_because == "lost" and not self.is_closed():
            self.closed_because = "surplus"

    def keep_alive(self, unacknowledged: float) -> None:
        """Notice when the server's host is gone; the driver itself does not ask the kernel to."""
        sockets.keep_alive(self._transport.get_extra_info("socket"), unacknowledged)

    @property
    def itself(self) -> "TrackedConnection":
        """What stands behind the driver's proxy, which passes this on."""
        return self


class Connections:
    """Opens a pool's connections, knows which of them are open, and lets go of the useless ones."""

    def __init__(
        self,
        name: str,
        settings: DatabaseSettings,
        service: Service,
        size: int,
        siblings: Mapping[str, Pool],
    ) -> None:
        if settings.url is None:
            raise ValueError(f"{name} has no URL")
        self.name = name
        self.most = size
        """Connections that this pool may open."""
        self.processes = settings.processes
        """How many processes have such a pool, this one included."""
        self.timeouts = settings.timeouts(name, service.deadline)
        self.server: Server | None = None
        """The server, once it has answered; unknown behind PgBouncer, which shares connections."""
        self._siblings = siblings
        self._url_file = settings.url_file
        self._attempts = attempts(dsn(settings.url))
        # What one of them cannot reach, by its URL or its CA, is no news of the others' server.
        self._way = (self._attempts, settings.ssl_ca)
        self._first = next((each for each in self._others() if each._way == self._way), self)
        """The pool that asks for the server when it is away, for all that go the same way."""
        self.breaker: Breaker = (
            Breaker(name, self._probe) if self._first is self else self._first.breaker
        )
        self._patience = self.timeouts.command if settings.waits_for_server else 0
        self._pgbouncer = settings.pgbouncer
        self.opened = Durations()
        self.closed: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._live: set[TrackedConnection] = set()
        self._lifetime = settings.lifetime
        self._ping_after_idle = settings.ping_after_idle
        self._arguments: dict[str, Any] = {
            "connection_class": TrackedConnection,
            "command_timeout": self.timeouts.command,
            "server_settings": {
                "application_name": settings.application_name or f"{service.name}/{name}",
                "timezone": "UTC",
            },
        }
        if settings.ssl_ca:
            self._arguments["ssl"] = ssl.create_default_context(cafile=settings.ssl_ca)
        if settings.pgbouncer:
            self._arguments["statement_cache_size"] = 0
        else:
            self._arguments["server_settings"] |= {
                "lock_timeout": milliseconds(self.timeouts.lock),
                "statement_timeout": milliseconds(self.timeouts.statement),
                "idle_in_transaction_session_timeout": milliseconds(
                    self.timeouts.idle_in_transaction
                ),
                # A query whose client is gone ends within a second (PostgreSQL 14 or later).
                "client_connection_check_interval": "1000",
                "default_transaction_read_only": "on" if settings.read_only else "off",
            }

    @property
    def size(self) -> int:
        """Connections that are open, whoever closed the others."""
        return sum(not connection.is_closed() for connection in self._live)

    async def connect(self, dsn: str | None = None, **arguments: Any) -> TrackedConnection:
        """Open a connection, as `asyncpg.connect` does; pools have no URL that they could pass.

        A restart of the server is waited out for as long as an answer would be. Raises
        NotConnected, Refused, Silent or Contended.
        """
        end = monotonic() + self.timeouts.command
        while True:
            try:
                await self.breaker.wait(self.name, self._patience)
            except PoolError as error:
                raise self._counted(error) from None
            try:
                return await self._open(self.timeouts.connect, arguments)
            except PoolError as error:
                self.breaker.trip(error)
                if monotonic() >= end or not self.breaker.is_tripped:  # it is stopped
                    raise

    def check(self) -> None:
        """Raise at once what `connect` would raise, if the server is known to be away."""
        try:
            self.breaker.check(self.name, self._patience)
        except PoolError as error:
            raise self._counted(error) from None

    async def _probe(self, seconds: float) -> None:
        connection = await self._open(min(seconds, self.timeouts.connect), {})
        connection.closed_because = "probe"
        connection.terminate()

    async def _open(self, seconds: float, arguments: dict[str, Any]) -> TrackedConnection:
        """Raises NotConnected, Refused, Silent or Contended, within so many seconds."""
        started = monotonic()
        try:
            with span("pool connect", self.name):
                connection = await self._connect(seconds, arguments | self._arguments)
        except TimeoutError as error:
            raise self._counted(Silent(self.name, f"not connected within {seconds:g} s")) from error
        except (*DRIVER_ERRORS, *TRY_NEXT_HOST) as error:
            kind: type[PoolError] = NotConnected
            if isinstance(error, asyncpg.TooManyConnectionsError):
                kind = Contended
            elif isinstance(error, REFUSALS):
                kind = Refused
            raise self._counted(kind(self.name, f"cannot connect: {error}")) from error
        connection.keep_alive(self.timeouts.command)
        connection.used = monotonic()
        connection.expires = connection.used + self._lifetime * (1 - random.uniform(0, JITTER))
        connection.due = 0
        connection.in_use = False
        self.opened.observe(connection.used - started)
        self.breaker.connected()
        self._live.add(connection)
        # The driver may pass a proxy, which knows nothing any more by then.
        connection.add_termination_listener(lambda _: self._forget(connection))
        return connection

    async def _connect(self, seconds: float, arguments: dict[str, Any]) -> TrackedConnection:
        end = monotonic() + seconds
        hosts = self._hosts()
        while True:
            try:
                return await self._connect_to(hosts, end, arguments)
            except REFUSALS:
                # The password may have changed on the way.
                if hosts == (hosts := self._hosts()):
                    raise

    async def _connect_to(
        self, hosts: list[Attempt], end: float, arguments: dict[str, Any]
    ) -> TrackedConnection:
        """Try one host after the other, each for its share of the time that is left."""
        for tried, (dsn, attribute, limit) in enumerate(hosts, 1):
            left = len(hosts) - tried
            share = (end - monotonic()) / (left + 1)
            arguments |= {"target_session_attrs": attribute, "timeout": min(limit, share)}
            try:
                connection: TrackedConnection = await asyncpg.connect(dsn, **arguments)
            except TRY_NEXT_HOST:
                if not left:
                    raise
            else:
                return connection
        raise AssertionError("every URL has a host")

    def _hosts(self) -> list[Attempt]:
        """What to try, with the password that the URL's file has now."""
        if self._url_file:
            try:
                self._attempts = attempts(dsn(read_url(self._url_file, self.name)))
            except ValueError as error:
                log.warning("URL not read again", pool=self.name, error=str(error))
        return self._attempts

    def _forget(self, connection: TrackedConnection) -> None:
        self._live.discard(connection)
        self.closed[connection.closed_because] += 1
        if connection.closed_because == "lost":
            self.breaker.trip()

    def is_fresh(self, connection: TrackedConnection) -> bool:
        """Whether it can be used as it is, which the hot path asks."""
        now = monotonic()
        is_recent = now - connection.used <= self._ping_after_idle
        return is_recent and now < connection.expires and not connection.is_closed()

    async def is_usable(self, connection: TrackedConnection) -> bool:
        """Whether one that is not fresh can be used all the same; otherwise it is closed now."""
        if connection.is_closed():
            return False
        if monotonic() >= connection.expires:
            connection.closed_because = "lifetime"
            with suppress(TimeoutError):
                await connection.close(timeout=self.timeouts.ping)
            return False
        try:
            await connection.execute("SELECT 1", timeout=self.timeouts.ping)
        except DRIVER_ERRORS:
            self.condemn(connection, "ping_failed")
            return False
        except BaseException:
            self._terminate(connection, "cancelled")
            raise
        return True

    def is_silent(self, error: Exception, since: float) -> bool:
        """Whether the server let the time for an answer pass, where it should end statements."""
        return isinstance(error, TimeoutError) and monotonic() - since >= self.timeouts.command

    def condemn(self, connection: TrackedConnection, reason: str) -> None:
        """Close a connection that is dead, and those that are idle: they are likely dead too.

        At once: whoever comes next would wait for a polite end.
        """
        self._terminate(connection, reason)
        for each in list(self._live):
            if not each.in_use:
                self._terminate(each, "condemned")
        self.breaker.trip()

    def _terminate(self, connection: TrackedConnection, reason: str) -> None:
        if not connection.is_closed():
            connection.closed_because = reason
        connection.terminate()

    def learn(self, started: datetime, max_connections: int, reserved: int) -> None:
        """Take from the answer to `SERVER` which server this is; after a failover another one."""
        if not self._pgbouncer:
            self.server = Server(started, max_connections, reserved)

    def sharing(self) -> list["Connections"]:
        """These, and those of the other pools that are known to be at the same server."""
        return [
            self,
            *(each for each in self._others() if self.server and each.server == self.server),
        ]

    def _others(self) -> Iterator["Connections"]:
        """Those of the other pools that are open."""
        for pool in self._siblings.values():
            connections = getattr(pool, "connections", None)
            if isinstance(connections, Connections) and connections is not self:
                yield connections

    @property
    def budget(self) -> int:
        return sum(each.most * each.processes for each in self.sharing())

    async def close(self, seconds: float) -> None:
        """Close all connections, politely for some seconds, then at once."""
        if self._first is self:
            await self.breaker.stop()
        for connection in self._live:
            connection.closed_because = "shutdown"
        polite = [connection.close(timeout=seconds) for connection in self._live]
        await asyncio.gather(*polite, return_exceptions=True)
        for connection in list(self._live):
            connection.terminate()

    def _counted(self, error: PoolError) -> PoolError:
        self.errors[type(error).__name__] += 1
        return error

    def named(self, error: Exception, *, lost: bool) -> PoolError | None:
        """The name for what the driver raised, or None for what is not the pool's affair.

        `lost` says that the connection is closed.
        """
        kind: type[PoolError] | None = None
        sqlstate = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
        if sqlstate in CONFLICT:
            kind = Conflict
        elif sqlstate in CONTENDED:
            kind = Contended
        elif sqlstate == QUERY_CANCELED or isinstance(error, TimeoutError):
            kind = TimedOut
        elif lost or sqlstate.startswith(LOST) or isinstance(error, OSError):
            kind = Unavailable
        return self._counted(kind(self.name, f"{type(error).__name__}: {error}")) if kind else None

    def stats(
        self, slots: Slots, pool_size: int, out: int, checkout: Durations, holds: Holds[Any]
    ) -> DatabaseStats:
        size = self.size
        return DatabaseStats(
            size=size,
            checked_out=out,
            idle=size - out,
            overflow=max(0, size - pool_size),
            max=slots.size,
            waiting=slots.waiting,
            checkout=checkout,
            hold=holds.durations,
            connect=self.opened,
            timeouts=slots.timeouts,
            rejected=slots.rejected,
            leaks=holds.leaks,
            budget=self.budget,
            budget_limit=self.server and self.server.limit,
            errors=dict(self.errors),
            closed=dict(self.closed),
        )


CONFLICT = ("40001", "40P01")  # serialization_failure, deadlock_detected
CONTENDED = ("55P03", "53300")  # lock_not_available, too_many_connections
QUERY_CANCELED = "57014"
LOST = (
    "08",  # connection exceptions
    "25006",  # read_only_sql_transaction: the server is not the primary any more
    "57P",  # admin_shutdown, crash_shutdown, cannot_connect_now
)


def milliseconds(seconds: float) -> str:
    """As PostgreSQL's settings want it; 0 would mean no limit."""
    return str(max(1, round(1000 * seconds)))
