"""A TCP proxy in a thread of its own, which can swallow what comes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Proxy:
    """Passes bytes on between clients on loopback and a Unix socket."""

    def __init__(self, target: Path) -> None:
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._passes: asyncio.Event
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def run(self) -> Iterator["Proxy"]:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._do(self._start)
        try:
            yield self
        finally:
            self._do(self._stop)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def swallow(self) -> None:
        """Accept and keep connections, and pass nothing on: a black hole."""
        self._do(self._swallow)

    def pass_on(self) -> None:
        """Pass everything on again. What was swallowed is lost, with its connections."""
        self._do(self._recover)

    def hold(self) -> None:
        """Pass nothing on, as a network that loses packets for a while."""
        self._do(self._swallow)

    def release(self) -> None:
        """Pass on what was held, which a network sends again."""
        self._do(self._release)

    def _do(self, work: Callable[..., Any], *arguments: object) -> Any:
        return asyncio.run_coroutine_threadsafe(work(*arguments), self._loop).result(10)

    async def _start(self) -> None:
        self._passes = asyncio.Event()
        self._passes.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]

    async def _swallow(self) -> None:
        self._passes.clear()

    async def _release(self) -> None:
        self._passes.set()

    async def _recover(self) -> None:
        # A real network would have dropped the packets: what was sent into it does not come out.
        self._cut()
        self._passes.set()

    async def _stop(self) -> None:
        if self._server:
            self._server.close()
        self._cut()
        self._passes.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.accepted += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            behind = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, behind[1]}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, behind[1]))
                group.create_task(self._copy(behind[0], writer))
        finally:
            for each in (writer, behind[1]):
                each.transport.abort()
                self._writers.discard(each)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._passes.wait()
                sink.write(data)
                await sink.drain()
        await self._passes.wait()
        sink.close()
