"""Who has a pool's connections, since when, and who keeps one for too long."""

import asyncio
import sys
from collections.abc import Iterator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from time import monotonic
from types import CodeType, FrameType
from typing import Generic, TypeVar

import structlog

from app.pools.base import Durations

K = TypeVar("K")
log = structlog.get_logger(__name__)

POOLS = str(Path(__file__).parent)
APP = str(Path(POOLS).parent)

# Calls, the innermost first: the code, and the instruction in it, whose line takes long to find.
Stack = list[tuple[CodeType, int]]

_taker: ContextVar[Stack] = ContextVar("taker")


def note_taker() -> None:
    """Remember which of the service's own code is about to take a connection, up to its route."""
    stack: Stack = []
    frame: FrameType | None = sys._getframe(2)
    while frame:
        code = frame.f_code
        if is_ours(code.co_filename):
            stack.append((code, frame.f_lasti))
        elif stack:
            break
        frame = frame.f_back
    _taker.set(stack)


@cache
def is_ours(file: str) -> bool:
    """Whether it is the service's own, and no pool's."""
    return file.startswith(APP) and not file.startswith(POOLS)


@dataclass(slots=True)
class Hold:
    taken: float
    context: Context
    is_leak: bool = False


class Holds(Generic[K]):
    """The connections that are out; one that is out for too long is logged and counted, once."""

    def __init__(self, pool: str, threshold: float) -> None:
        self.durations = Durations()
        self.leaks = 0
        self.last_end = monotonic()
        self._pool = pool
        self._threshold = threshold
        # In the order in which they were taken.
        self._holds: dict[K, Hold] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[K]:
        return iter(self._holds)

    def begin(self, key: K) -> None:
        self._holds[key] = Hold(monotonic(), copy_context())
        if self._timer is None:
            self._look_in(self._threshold)

    def end(self, key: K) -> None:
        self.last_end = monotonic()
        self.durations.observe(self.last_end - self._holds.pop(key).taken)

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Report the leaks; one timer, set for the oldest of the others, costs requests nothing."""
        self._timer = None
        for hold in self._holds.values():
            if hold.is_leak:
                continue
            held = monotonic() - hold.taken
            if held < self._threshold:
                self._look_in(self._threshold - held)
                return
            hold.is_leak = True
            self.leaks += 1
            # As the request that took it would have logged it.
            hold.context.run(self._report, held)

    def _report(self, held: float) -> None:
        log.warning(
            "connection held for too long",
            pool=self._pool,
            seconds=round(held, 1),
            taken_by=[where(code, instruction) for code, instruction in _taker.get([])],
        )


def where(code: CodeType, instruction: int) -> str:
    file = Path(code.co_filename).relative_to(Path(APP).parent)
    line, *_ = next(islice(code.co_positions(), instruction // 2, None))
    return f"{file}:{line} {code.co_name}"
