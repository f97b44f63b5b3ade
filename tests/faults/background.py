"""A server in a thread of its own, so that tests can go on beside it."""

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """Has an event loop in a thread, on which `start` and `stop` run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def run(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self.do(self.start)
        try:
            yield self
        finally:
            self.do(self.stop)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns, which runs in the thread."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...
