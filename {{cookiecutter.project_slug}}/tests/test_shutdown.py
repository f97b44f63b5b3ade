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

from dev import ROOT
from tests.waiting import until


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
        env=os.environ | {"SHUTDOWN_GRACE": "4", "REQUEST_DEADLINE": "60"},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


async def test_a_terminated_service_ends_in_time_and_well(
    service: subprocess.Popen[bytes], port: int
) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def is_live() -> bool:
            try:
                return (await client.get("/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        await until(is_live, seconds=20)
        with socket.create_connection(("127.0.0.1", port)) as stuck:
            stuck.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
            service.send_signal(signal.SIGTERM)
            started = monotonic()
            await until(lambda: service.poll() is not None)
            # Requests have half of SHUTDOWN_GRACE; then they are cancelled.
            assert 2 < monotonic() - started < 4
    assert service.returncode == 0
