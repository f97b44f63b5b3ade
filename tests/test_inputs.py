"""Whatever comes in, nothing breaks, and nothing is left of it."""

import socket
import time
from contextlib import suppress

import pytest

import made_up
from combinations import EVERYTHING
from faults.test_database import DEADLINE
from faults.world import World, is_settled, world
from running import wait_for
from test_services import Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]


def test_what_no_client_of_ours_would_send(install: Install) -> None:
    with world(install(**EVERYTHING), {}) as it:
        made_up.check(it.service.port, it.installed.project.path.parent, examples=100)
        send_badly(it)
        send_slowly(it)
        wait_for(lambda: is_settled(it), "peace")


def send_slowly(it: World) -> None:
    """A body that never comes to its end is waited for as long as any request."""
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", it.service.port), timeout=0.2) as connection:
        connection.sendall(head + b"Content-Length: 1000000\r\n\r\n")
        begun, answer = time.monotonic(), b""
        while not answer:
            assert time.monotonic() - begun < DEADLINE + 1
            connection.sendall(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 504")


def send_badly(it: World) -> None:
    """Send what is no request; the service has to stay up."""
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
