"""An upstream on loopback, in a thread of its own, that behaves as it is told."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from faults.background import Background

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(bytes(1_000_000_000), compresslevel=1)


class Connection:
    """A client's connection, on which this is the request number `number`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.number = number

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def is_left(self) -> None:
        """Return when the client hangs up."""
        await self._reader.read()

    def reset(self) -> None:
        self._writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


async def answer(connection: Connection) -> None:
    await connection.send(OK + b"Content-Length: 2\r\n\r\n{}")


async def say_nothing(connection: Connection) -> None:
    await connection.is_left()


async def drip_head(connection: Connection) -> None:
    await connection.send(OK + b"X-Slow: ")
    while True:
        await connection.send(b"x")
        await asyncio.sleep(0.2)


async def drip_body(connection: Connection) -> None:
    await connection.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"1\r\n \r\n")
        await asyncio.sleep(0.2)


async def reset_the_second(connection: Connection) -> None:
    """As a server does that closes a connection just when it is used again."""
    if connection.number > 1:
        connection.reset()
    else:
        await answer(connection)


async def never_end(connection: Connection) -> None:
    await connection.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while True:
        await connection.send(piece)


async def send_bomb(connection: Connection) -> None:
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    await connection.send(OK + head + BOMB)


async def redirect_to_itself(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")


async def be_busy(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


class Upstream(Background):
    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.behave: Behaviour = answer
        self.accepted = 0
        """Connections so far."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def behaving(self, behaviour: Behaviour) -> Iterator[None]:
        """Every request meets this in the context, then all that is open is closed."""
        self.behave = behaviour
        try:
            yield
        finally:
            self.behave = answer
            self.do(self._cut)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens."""
        self.do(self.stop)
        try:
            yield
        finally:
            self.do(self.start)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.accepted += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        number = 0
        try:
            # The service has no reason to send a body here, so that a head is a request.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await reader.readuntil(b"\r\n\r\n"):
                    number += 1
                    await self.behave(Connection(reader, writer, number))
        finally:
            writer.transport.abort()
