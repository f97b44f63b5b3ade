"""Upstreams on loopback: one that answers properly, and one that does whatever a test wants."""

# Goes with the examples.

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

# What reading raises when the client has closed.
GONE = (ConnectionError, asyncio.IncompleteReadError)

Script = Callable[["Connection"], Awaitable[None]]


class Upstream:
    """Answers as a path asks for, or what `answers` holds, and remembers the requests it got."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answers: list[web.Response] = []
        self.open = asyncio.Event()
        self.open.set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        # By name, as clients ignore the cookies of bare addresses.
        self.server = TestServer(app, host="localhost")

    @property
    def url(self) -> str:
        return str(self.server.make_url("/"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        await self.open.wait()
        if self.answers:
            return self.answers.pop(0)
        match request.path:
            case "/missing":
                return web.json_response({"error": "secret"}, status=404)
            case "/broken":
                return web.json_response({"error": "secret"}, status=500)
            case "/forbidden":
                return web.json_response({"error": "secret"}, status=403)
            case "/text":
                return web.Response(text="<html>secret</html>", content_type="text/html")
            case "/hook":
                return web.Response(status=202, text="x" * 1_000_000)
        return web.json_response({"path": request.path})


class Connection:
    """One connection to a server whose every byte a test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request. Raises IncompleteReadError when the client has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().splitlines():
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def head(self, *headers: str) -> None:
        lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", *headers, "", ""]
        await self.send("\r\n".join(lines).encode())

    async def answer(self, body: bytes = b"{}") -> None:
        await self.head(f"Content-Length: {len(body)}")
        await self.send(body)


class RawServer:
    """Runs a script on each connection, and closes it at the script's end."""

    def __init__(self, script: Script) -> None:
        self.url = ""
        self.connections = 0
        self.open = 0
        self._script = script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._script(Connection(reader, writer))
        except GONE:
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


@asynccontextmanager
async def raw_server(script: Script) -> AsyncIterator[RawServer]:
    raw = RawServer(script)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield raw
