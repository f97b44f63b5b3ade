"""The service as a process: what it does between SIGTERM and its end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import httpx
import pytest

from app.shutdown import NOTICE, REQUESTS
from dev import ROOT
from tests.waiting import until

# Seconds; a tenth is for the process itself, on a machine that may be busy with other tests.
GRACE = 8


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def service(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tests.stuck_service:app", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"SHUTDOWN_GRACE": str(GRACE), "REQUEST_DEADLINE": "60"},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


async def test_a_terminated_service_ends_in_time_and_well(
    service: subprocess.Popen[bytes], port: int
) -> None:
    # Not kept alive: uvicorn would close the connection under a request that is just being sent.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits) as client:

        async def status(path: str) -> int:
            try:
                return (await client.get(path)).status_code
            except httpx.TransportError:
                return 0

        async def is_ready() -> bool:
            return await status("/health/ready") == 200

        await until(is_ready, seconds=20)
        with socket.create_connection(("127.0.0.1", port)) as stuck:
            stuck.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
            service.send_signal(signal.SIGTERM)
            started = monotonic()
            # Load balancers see that it ends while it still serves.
            assert await status("/health/ready") == 503
            assert await status("/health/live") == 200
            await until(lambda: service.poll() is not None, seconds=GRACE)
            # Requests have half of SHUTDOWN_GRACE; then they are cancelled.
            assert monotonic() - started > (NOTICE + REQUESTS) * GRACE
    assert service.returncode == 0
