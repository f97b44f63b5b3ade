"""What the kernel is to do when the other host is gone without a word."""

import socket
from typing import Protocol

# Seconds without traffic until the kernel asks whether the other host is there, from one question
# to the next, and how many may go unanswered: routers and firewalls forget a connection that is
# silent for minutes, and Linux asks only after two hours by itself.
IDLE = 30
INTERVAL = 5
PROBES = 3


class Socket(Protocol):
    @property
    def family(self) -> int: ...
    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def keep_alive(connection: Socket, unacknowledged: float) -> None:
    """Ask over TCP for signs of life while idle; break it when nothing that was sent arrives.

    `unacknowledged` are the seconds that the other host has to acknowledge what was sent; not
    every system can bound that.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE),
        ("TCP_KEEPINTVL", INTERVAL),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", round(1000 * unacknowledged)),
    ):
        if option := getattr(socket, name, None):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
