"""From SIGTERM to exit: in bounded time, and with status 0."""

import signal
from types import FrameType

from uvicorn import Server

# Shares of SHUTDOWN_GRACE. What is left over is for the process itself.
REQUESTS = 0.5
LEFTOVERS = 0.1
POOLS = 0.2


def bound(grace: float) -> None:
    """Have the uvicorn that runs this process, if one does, be done within `grace` seconds.

    By itself it waits for requests without end, and then dies of the signal that it was sent,
    which looks like a crash.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(server, Server):
        return

    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    server.config.timeout_graceful_shutdown = REQUESTS * grace  # type: ignore[assignment]
