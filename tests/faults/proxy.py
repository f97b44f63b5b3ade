"""A TCP proxy in a thread of its own, which can swallow what comes."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.background import Background


class Proxy(Background):
    """Passes bytes on between clients on loopback and a Unix socket."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self._target = target
        self._passes: asyncio.Event
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def swallow(self) -> None:
        """Accept and keep connections, and pass nothing on: a black hole."""
        self.do(self._swallow)

    def pass_on(self) -> None:
        """Pass everything on again. What was swallowed is lost, with its connections."""
        self.do(self._recover)

    def release(self) -> None:
        """Pass everything on again, what was swallowed first: a network sends it anew."""
        self.do(self._release)

    async def start(self) -> None:
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

    async def stop(self) -> None:
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
