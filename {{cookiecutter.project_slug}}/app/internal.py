"""A door of its own for those who run the service, so that nobody else finds theirs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Annotated

import uvicorn
from pydantic import AfterValidator
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import problem


def checked_address(address: str) -> str:
    """The address itself. Raises ValueError when it is none."""
    host, _, port = address.rpartition(":")
    try:
        ip_address(host.strip("[]"))
        if not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise ValueError("is no address: write IP:PORT, such as 0.0.0.0:9000") from None
    return address


Address = Annotated[str, AfterValidator(checked_address)]


class Doors:
    """Answers 404 to the right question at the wrong door."""

    def __init__(self, app: ASGIApp, address: str, inside: Iterable[str]) -> None:
        """What is inside is said by the paths of routes; what is below them is inside, too."""
        self._app = app
        self._port = int(address.rpartition(":")[2])
        self._inside = [compile_path(path.rstrip("/") + "/{rest:path}")[0] for path in inside]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            is_inside = (scope["server"] or ("", None))[1] == self._port
            path = scope["path"] + "/"
            if is_inside != any(pattern.match(path) for pattern in self._inside):
                await problem(404, "Not Found")(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Server(uvicorn.Server):
    """A server within a server, which has the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(app: ASGIApp, address: str | None) -> AsyncIterator[None]:
    """Listen at this address, too, if there is one; all workers do.

    Raises OSError when somebody else does.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as door:
        if hasattr(socket, "SO_REUSEPORT"):
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        door.bind((host, int(port)))
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, server_header=False
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve(sockets=[door]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving
