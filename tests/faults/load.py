"""Requests over HTTP, each on a connection of its own, and what became of each."""

import asyncio
import gc
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

# Seconds after which a client hangs up; far more than any promise.
PATIENCE = 60


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Callable[[int], object] | None = None
    """What the request with this number says."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request; the status is 0 if there was no answer."""

    request: Request
    number: int
    started: float
    seconds: float
    status: int
    text: str

    @property
    def ended(self) -> float:
        return self.started + self.seconds

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class Load:
    """All outcomes so far."""

    outcomes: list[Outcome] = field(default_factory=list)

    def since(self, moment: float) -> list[Outcome]:
        return [each for each in self.outcomes if each.started >= moment]

    def between(self, begin: float, end: float) -> list[Outcome]:
        return [each for each in self.outcomes if begin <= each.started < end]


def statuses(outcomes: list[Outcome]) -> Counter[int]:
    return Counter(each.status for each in outcomes)


def longest(outcomes: list[Outcome]) -> float:
    return max((each.seconds for each in outcomes), default=0)


def quantile(outcomes: list[Outcome], q: float) -> float:
    """Seconds within which this share of the requests was answered."""
    times = sorted(each.seconds for each in outcomes)
    return times[min(len(times) - 1, int(q * len(times)))] if times else 0


def most_kept(outcomes: list[Outcome], at_once: float) -> int:
    """How many were in flight at the same time, each for more than `at_once` seconds by then."""
    kept = [each for each in outcomes if each.seconds > at_once]
    begins = [(each.started + at_once, 1) for each in kept]
    ends = [(each.ended, -1) for each in kept]
    return max(accumulate(change for _, change in sorted([*begins, *ends])), default=0)


async def call(port: int, request: Request, number: int) -> Outcome:
    body = b"" if request.body is None else json.dumps(request.body(number)).encode()
    head = (
        f"{request.method} {request.path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    started = time.monotonic()
    status, text = 0, ""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode() + body)
                answer = await reader.read()
            finally:
                writer.close()
            status = int(answer.split(b" ", 2)[1])
            text = answer.partition(b"\r\n\r\n")[2].decode()
    except (OSError, IndexError, TimeoutError) as error:
        text = repr(error)
    return Outcome(request, number, started, time.monotonic() - started, status, text)


async def clients(
    port: int, requests: list[Request], load: Load, *, each: int, number: int, offset: int = 0
) -> None:
    """A closed loop: `each` clients for each request send it `number` times, one after another.

    Those of one request have numbers of their own, from `offset` on.
    """

    async def client(request: Request, first: int) -> None:
        for n in range(first, first + number):
            load.outcomes.append(await call(port, request, n))

    starts = range(offset, offset + each * number, number)
    await asyncio.gather(*(client(request, start) for request in requests for start in starts))


async def keep_up(
    port: int, requests: list[Request], each_second: float, load: Load, is_over: threading.Event
) -> None:
    """An open loop: so many requests each second, however long their answers take."""
    tasks: set[asyncio.Task[None]] = set()

    async def send(request: Request, number: int) -> None:
        load.outcomes.append(await call(port, request, number))

    begun = time.monotonic()
    number = 0
    while not is_over.is_set():
        while number < (time.monotonic() - begun) * each_second:
            task = asyncio.create_task(send(requests[number % len(requests)], number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(min(0.01, 1 / each_second))
    if tasks:
        await asyncio.wait(tasks)


@contextmanager
def loaded(port: int, requests: list[Request], each_second: float) -> Iterator[Load]:
    """A load in the background; when the context ends, all requests have their outcomes."""
    # A full collection of all that is imported here would be 20 ms of some request's time.
    gc.collect()
    gc.freeze()
    load, is_over = Load(), threading.Event()
    work: list[Any] = [port, requests, each_second, load, is_over]
    thread = threading.Thread(target=lambda: asyncio.run(keep_up(*work)))
    thread.start()
    try:
        yield load
    finally:
        is_over.set()
        thread.join()
