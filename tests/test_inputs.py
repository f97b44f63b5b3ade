"""Whatever a client sends, nothing breaks: requests made up from the service's own description."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from combinations import EVERYTHING, TOGGLES, Answers, label
from faults.world import World, is_settled, wait_for, world
from test_services import Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

ONE_POOL = [
    dict.fromkeys(TOGGLES, False) | {"monitoring": True, toggle: True}
    for toggle in ("sqlalchemy_pool", "asyncpg_pool")
]

# The description cannot say that PostgreSQL keeps no NUL characters, wherever they are; and
# /items/batch, where items are sent, is also the path of an item with an impossible id.
EXCLUDED = "positive_data_acceptance,unsupported_method"


@pytest.mark.parametrize("answers", [EVERYTHING, *ONE_POOL], ids=label)
def test_requests_that_are_made_up(install: Install, answers: Answers) -> None:
    with world(install(**answers), {}) as it:
        url = f"http://127.0.0.1:{it.service.port}/openapi.json"
        ran = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("run", url, "--max-examples=40", "--generation-deterministic", "--no-color"),
                f"--exclude-checks={EXCLUDED}",
            ],
            capture_output=True,
            text=True,
            cwd=it.installed.project.path.parent,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stdout
        send_badly(it)
        wait_for(lambda: is_settled(it), "peace")


def send_badly(it: World) -> None:
    """What no client of ours would send; the service has to stay up."""
    head = b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for data in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /users/1 HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: 99999999999\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"Content-Length: 10\r\n\r\n{",  # and no more
    ):
        with socket.create_connection(("127.0.0.1", it.service.port), timeout=10) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except ConnectionError:
                answer = b""
        assert not answer.startswith(b"HTTP/1.1 5"), data[:100]
    assert it.service.call("GET", "/health/live").status == 200
