"""From SIGTERM to exit: first out of rotation, then in bounded time, and with status 0."""

import asyncio
import signal
from types import FrameType

from fastapi import FastAPI
from uvicorn import Server

# Shares of SHUTDOWN_GRACE. What is left over is for the process itself.
NOTICE = 0.1  # not ready, and still serving, until the load balancers have seen it
REQUESTS = 0.5
LEFTOVERS = 0.1
POOLS = 0.2


def bound(app: FastAPI, grace: float) -> None:
    """Have the uvicorn that runs this process, if one does, be done within `grace` seconds.

    By itself it refuses new requests at once, waits for others without end, and then dies of the
    signal that it was sent, which looks like a crash.
    """
    app.state.is_ending = False
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(server, Server):
        return
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def stop(_: int, __: FrameType | None) -> None:
        if app.state.is_ending:  # whoever asks twice is in a hurry
            end()
        app.state.is_ending = True
        loop.call_soon_threadsafe(loop.call_later, NOTICE * grace, end)

    signal.signal(signal.SIGTERM, stop)
    server.config.timeout_graceful_shutdown = REQUESTS * grace  # type: ignore[assignment]
