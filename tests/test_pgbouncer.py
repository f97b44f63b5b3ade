"""Both drivers behind a real PgBouncer in transaction mode."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from running import PATIENCE, free_port, servers, serving
from test_services import Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

REQUESTS = 5000


def wait_until_it_listens(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, f"nothing listens on {port}"
            time.sleep(0.05)


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """The URL of a PgBouncer before the server of `url`, with few connections to share."""
    port = free_port()
    host = parse_qs(urlsplit(url).query)["host"][0]
    database = urlsplit(url).path.removeprefix("/")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        settings = Path(directory, "pgbouncer.ini")
        settings.write_text(f"""
[databases]
{database} = host={host} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
""")
        command = ["pgbouncer", str(settings)]
        if os.geteuid() == 0:  # it refuses to run as root, and only the owner sees the socket
            command = ["pgbouncer", "-u", Path(host).owner(), str(settings)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_until_it_listens(port)
            yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
        finally:
            process.kill()
            process.wait()


def test_mixed_requests_over_both_drivers(install: Install) -> None:
    assert shutil.which("pgbouncer"), "install PgBouncer: apt-get install pgbouncer"
    installed = install(sqlalchemy_pool=True, asyncpg_pool=True, aiohttp_pool=False)
    with (
        servers(installed.project, installed.python) as variables,
        pgbouncer(variables["DATABASE_URL"]) as url,
    ):
        behind = {
            **variables,
            "DATABASE_URL": url,
            "PRIMARY__PGBOUNCER": "true",
            "ASYNCPG__PGBOUNCER": "true",
        }
        with serving(installed.project, installed.python, behind) as service:

            def call(number: int) -> int:
                match number % 5:
                    case 0:
                        body = {"name": "x", "email": f"{number}@example.com"}
                        return service.call("POST", "/users", body).status
                    case 1:
                        items = [{"name": "x", "value": {"n": number}}]
                        return service.call("POST", "/items/batch", items).status
                    case 2 | 3:
                        return service.call("GET", "/items/1").status
                    case _:
                        return service.call("GET", "/users/1").status

            with ThreadPoolExecutor(16) as pool:
                statuses = list(pool.map(call, range(REQUESTS)))
            assert {status for status in statuses if status not in (200, 201)} == set()
            assert len(statuses) == REQUESTS
