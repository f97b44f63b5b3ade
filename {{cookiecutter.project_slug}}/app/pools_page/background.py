"""A look at the pools each second, as long as the service runs, for the pages that are open."""

import asyncio
import json
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from uvicorn import Server

from app.monitoring import workers
from app.pools_page.figures import Readings

log = structlog.get_logger(__name__)

PERIOD = 1  # seconds
KEPT = 300  # readings: five minutes, for a page that is opened after the event


class Feed:
    """The last readings, each as JSON, and those to come."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._number = 0
        self._is_open = True
        self._changed = asyncio.Event()

    def add(self, reading: object) -> None:
        self._kept.append(json.dumps(reading))
        self._number += 1
        self._wake()

    def close(self) -> None:
        """Let go of all who follow."""
        self._is_open = False
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[str]:
        """What is kept, then what is new, as JSON arrays.

        All that is kept comes at once: one by one it would take seconds while the service is busy.
        Who is slow misses what is no longer kept.
        """
        seen = 0
        while self._is_open:
            if behind := min(self._number - seen, len(self._kept)):
                seen = self._number
                yield f"[{','.join(list(self._kept)[-behind:])}]"
            else:
                await self._changed.wait()


async def look(registry: CollectorRegistry, feed: Feed) -> None:
    readings = Readings()
    while not is_ending():
        try:
            figures = await workers.figures(registry)
            feed.add(readings.add(figures.collect(), time()))
        except Exception:
            log.exception("the pools' figures could not be read")
        await asyncio.sleep(PERIOD)
    feed.close()


def is_ending() -> bool:
    """Whether the uvicorn that runs this process, if one does, was asked to end.

    It then waits for answers to be complete, and an open page's never is by itself.
    """
    server = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    return isinstance(server, Server) and server.should_exit


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Look at the pools, if the page is on."""
    if not app.state.settings.pools_page:
        yield
        return
    feed = app.state.pools_feed = Feed()
    task = asyncio.create_task(look(app.state.registry, feed))
    yield
    task.cancel()
    feed.close()
    await asyncio.wait({task})
