"""What the rest of the service may ask of any pool, and the parts that all pools share."""

import asyncio
import bisect
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, NamedTuple, Protocol

from opentelemetry import trace
from pydantic import BaseModel, ConfigDict

# Upper bounds in seconds: from a local round trip to the longest default timeout.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_tracer = trace.get_tracer("app.pools")
_nothing = nullcontext()


def span(name: str, pool: str) -> AbstractContextManager[object]:
    """A span in the trace of a request, where it waits; of no cost where no trace is taken."""
    if not trace.get_current_span().is_recording():
        return _nothing
    return _tracer.start_as_current_span(name, attributes={"pool": pool})


class PoolError(Exception):
    """A pool could not do what was asked of it; carries the pool's name."""

    may_pass_soon: ClassVar[bool] = False
    """Whether a connection may be had before whoever asks for one gives up."""

    def __init__(self, pool: str, detail: str) -> None:
        super().__init__(f"{pool}: {detail}")
        self.pool = pool
        self.detail = detail


class PoolTimeout(PoolError):
    """No connection became free in time."""


class PoolFull(PoolError):
    """As many callers as allowed are waiting for a connection already."""


class Unavailable(PoolError):
    """The server refused, is shutting down, cannot be reached, or dropped the connection."""


class NotConnected(Unavailable):
    """No connection could be opened: nothing was begun."""

    may_pass_soon = True


class Silent(NotConnected):
    """The server did not answer at all, which is no restart."""

    may_pass_soon = False


class Refused(NotConnected):
    """The server does not let the service in, and will not soon: a wrong name or password."""

    may_pass_soon = False


class OutcomeUnknown(Unavailable):
    """The connection was lost when the work may have been stored already."""


class Contended(PoolError):
    """The server gave the work up for the sake of others: locks, conflicts, too many clients."""


class Conflict(Contended):
    """A serialization failure or a deadlock: the whole transaction may be run again."""


class TimedOut(PoolError):
    """The work was begun and took too long."""


class Durations:
    """A histogram of durations in seconds, with the bounds of `BUCKETS`."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


def figure(help: str, *, total: bool = False, by: str = "") -> Any:
    """A field of `PoolStats`: a sentence of help, total or value of now, the label of its parts."""
    return field(metadata={"help": help, "total": total, "by": by})


@dataclass(frozen=True)
class PoolStats:
    """A pool's figures, read at this moment; the name of each is `prefix`, then the field's."""

    prefix: ClassVar[str]


class Pool(Protocol):
    """An open pool."""

    name: str
    required: bool
    roles: tuple[str, ...]

    async def ping(self) -> None:
        """Ask the other side for a sign of life, without waiting for a connection that is busy.

        Raises PoolError or OSError when there is none. The caller bounds the time.
        """

    def stats(self) -> PoolStats:
        """The figures of this moment."""


@dataclass(frozen=True)
class Service:
    """What every pool is told about the service that it is part of."""

    name: str
    version: str
    deadline: float
    """Seconds that a request may take in all."""
    close_timeout: float
    """Seconds that a pool may take to close politely, before it is terminated."""


class PoolSettings(BaseModel, ABC):
    """The settings of one pool. A field of this type in the service's settings is a pool."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    required: ClassVar[bool] = True
    """Whether the service is ready only when this pool is."""

    roles: ClassVar[tuple[str, ...]] = ()
    """What the pool may be used as beside its name; the last pool that claims a role has it."""

    @property
    def enabled(self) -> bool:
        """Whether there is anything to connect to."""
        return True

    def complete(self, name: str, settings: Mapping[str, Any]) -> None:
        """Take from the whole service's settings what this pool, called `name`, was not given.

        Raises ValueError, in one sentence with the remedy, for what does not fit together.
        """

    @abstractmethod
    def open(
        self, name: str, service: Service, opened: Mapping[str, Pool]
    ) -> AbstractAsyncContextManager[Pool]:
        """The pool, open as long as the context lasts. Opening does not need the other side.

        `opened` are the pools that are open already, by name.
        """


class Waiter(NamedTuple):
    served: asyncio.Future[bool]
    until: float


class Slots:
    """A pool's bound: at most `size` are out, `max_waiting` wait, and the first come is served."""

    def __init__(self, pool: str, size: int, max_waiting: int, timeout: float) -> None:
        self.size = size
        self.timeouts = 0
        self.rejected = 0
        self._pool = pool
        self._free = size
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._waiters: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> int:
        return self.size - self._free

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def take(self) -> bool:
        """Take a slot if one is free; nobody waits while one is."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def wait(self) -> None:
        """Wait for a slot.

        Raises PoolFull at once when `max_waiting` wait already, and PoolTimeout after `timeout`
        seconds. A caller that is cancelled leaves nothing behind.
        """
        if len(self._waiters) >= self._max_waiting:
            self.rejected += 1
            raise PoolFull(self._pool, f"{len(self._waiters)} are waiting for a connection already")
        waiter = Waiter(
            asyncio.get_running_loop().create_future(), until=monotonic() + self._timeout
        )
        self._waiters.append(waiter)
        if self._timer is None:
            self._look_in(self._timeout)
        try:
            with span("pool wait", self._pool):
                is_served = await waiter.served
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.served.cancelled() and waiter.served.result():  # while it was leaving
                self.give_back()
            raise
        if not is_served:
            self.timeouts += 1
            raise PoolTimeout(self._pool, f"no connection became free within {self._timeout:g} s")

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Send away who has waited for too long; one timer, set for the first, is for all."""
        self._timer = None
        while self._waiters:
            if (left := self._waiters[0].until - monotonic()) > 0:
                self._look_in(left)
                return
            self._answer(is_served=False)

    def give_back(self) -> None:
        """Hand the slot to whoever has waited longest."""
        while self._waiters:
            if self._answer(is_served=True):
                return
        self._free += 1

    def _answer(self, *, is_served: bool) -> bool:
        """Whether the first who waits is still there to be told."""
        served = self._waiters.popleft().served
        if served.done():
            return False
        served.set_result(is_served)
        return True
