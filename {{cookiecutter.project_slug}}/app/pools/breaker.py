"""While a server is away nobody waits in vain: one probe at a time finds it when it is back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from time import monotonic

import structlog

from app.pools.base import NotConnected, PoolError, Refused

log = structlog.get_logger(__name__)

# Seconds from one probe to the next, and by how much more at most, so that all processes do not
# come at once. A server that is back is found within two seconds; none is asked more often than
# once a second.
PROBE_EVERY = 1.0
JITTER = 0.2

# Seconds that a probe may take, so that one that meets silence is over when the next is due.
PROBE_TIMEOUT = 0.9


class Breaker:
    """A circuit breaker: closed while the server is there, open while it cannot be reached.

    Pools that go the same way to a server share it. `probe` opens a connection of the first of
    them, `pool`, and closes it, in so many seconds, or raises PoolError.

    A failure that may pass soon, as in a restart, is waited out for the caller's `patience`, in
    seconds from its beginning; then, and after others, each caller is refused at once.
    """

    def __init__(self, pool: str, probe: Callable[[float], Awaitable[None]]) -> None:
        self._pool = pool
        self._probe = probe
        # Before the first connection there is nothing that could come back.
        self._since = -inf
        self._error: PoolError | None = None
        self._watch: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._is_stopped = False

    @property
    def is_tripped(self) -> bool:
        """Whether the server is away, or may be."""
        return self._watch is not None

    def connected(self) -> None:
        """Hear that a connection was opened."""
        if self._watch is None:
            self._since = inf

    def trip(self, error: PoolError | None = None) -> None:
        """Hear that a connection was lost or, with an error, that none could be opened."""
        if self._watch is None and not self._is_stopped:
            self._since = min(self._since, monotonic())
            if error is not None:
                self._found_away(error)
            self._watch = asyncio.create_task(self._probe_until_it_is_back())

    def check(self, pool: str, patience: float) -> None:
        """Raise for `pool` what the server was last found away with, if waiting is of no use.

        Not where it only lets no more in: the connections that there are go on to serve.
        """
        if isinstance(self._error, NotConnected) and not isinstance(self._error, Refused):
            self._raise_in_vain(self._error, pool, patience)

    async def wait(self, pool: str, patience: float) -> None:
        """Return when the server can be asked: at once, unless something has happened to it.

        Raises for `pool` what it was last found away with when waiting is of no use any longer.
        """
        while self._watch is not None:
            left: float | None = None
            if self._error is not None:
                self._raise_in_vain(self._error, pool, patience)
                left = self._left(self._error, patience)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._looked.wait()

    async def stop(self) -> None:
        self._is_stopped = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})

    def _raise_in_vain(self, error: PoolError, pool: str, patience: float) -> None:
        if self._left(error, patience) <= 0:
            raise type(error)(pool, error.detail)

    def _left(self, error: PoolError, patience: float) -> float:
        """Seconds for which it is worth waiting that this passes."""
        return self._since + patience - monotonic() if error.may_pass_soon else 0

    async def _probe_until_it_is_back(self) -> None:
        asked = monotonic()
        while True:
            if self._error is not None:
                pause = PROBE_EVERY + random.uniform(0, JITTER)
                await asyncio.sleep(asked + pause - monotonic())
            asked = monotonic()
            try:
                await self._probe(PROBE_TIMEOUT)
            except PoolError as error:
                self._found_away(error)
            except Exception as error:  # or nobody would ever look again
                log.exception("probe failed", pool=self._pool)
                self._found_away(NotConnected(self._pool, type(error).__name__))
            else:
                break
        if self._error is not None:
            seconds = round(monotonic() - self._since, 1)
            log.warning("server is back", pool=self._pool, seconds=seconds)
        self._since = inf
        self._error = self._watch = None
        self._wake()

    def _found_away(self, error: PoolError) -> None:
        if self._error is None:
            log.warning("server is away", pool=self._pool, error=error.detail)
        self._error = error
        self._wake()

    def _wake(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()
