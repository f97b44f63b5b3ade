"""Both drivers behind a real PgBouncer in transaction mode."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from faults.load import Load, Request, clients, loaded, longest, statuses
from faults.results import Record
from faults.test_database import (
    BACK,
    DEADLINE,
    MAX_WAITING,
    READS,
    SETTINGS,
    SIZE,
    WRITES,
    by_kind,
    check_rows,
)
from faults.world import World, directory_of, world
from running import free_port, wait_for
from test_services import Installed

pytestmark = [pytest.mark.services, pytest.mark.posix]

BEHIND = {**SETTINGS, "PRIMARY__PGBOUNCER": "true", "ASYNCPG__PGBOUNCER": "true"}


class PgBouncer:
    """Before a server, with few connections to share."""

    def __init__(self, **settings: object) -> None:
        self._settings = settings
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes]
        self._socket = Path()

    @contextmanager
    def before(self, url: str) -> Iterator[tuple[Path, Mapping[str, str]]]:
        """Its socket; the service needs no variables for it."""
        assert shutil.which("pgbouncer"), "install PgBouncer: apt-get install pgbouncer"
        host = directory_of(url)
        database = urlsplit(url).path.removeprefix("/")
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as directory:
            settings = {
                "listen_port": port,
                "unix_socket_dir": directory,
                "auth_type": "any",
                "pool_mode": "transaction",
                "default_pool_size": 5,
                "max_client_conn": 200,
                **self._settings,
            }
            lines = [f"{name} = {value}" for name, value in settings.items()]
            file = Path(directory, "pgbouncer.ini")
            file.write_text(
                f"[databases]\n{database} = host={host} user=postgres\n"
                f"[pgbouncer]\n{os.linesep.join(lines)}\n"
            )
            self._socket = Path(directory, f".s.PGSQL.{port}")
            self._command = ["pgbouncer", str(file)]
            if os.geteuid() == 0:  # it refuses to run as root, and only the owner sees the socket
                shutil.chown(directory, host.owner())
                self._command = ["pgbouncer", "-u", host.owner(), str(file)]
            self._start()
            try:
                yield self._socket, {}
            finally:
                self._stop()

    def restart(self) -> None:
        """Crash, and come back."""
        self._stop()
        self._start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What PAUSE does, and RESUME."""
        self._process.send_signal(signal.SIGUSR1)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGUSR2)

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_for(self._listens, "PgBouncer")

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.unlink()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0


@pytest.fixture
def bouncer() -> PgBouncer:
    return PgBouncer()


@pytest.fixture
def it(installed: Installed, bouncer: PgBouncer) -> Iterator[World]:
    with world(installed, BEHIND, surroundings=bouncer.before) as it:
        tasks = it.tasks()
        yield it
        for pool in ("primary", "asyncpg"):
            for figure in ("checked_out", "waiting"):
                assert it.figure(f'db_pool_{figure}{{pool="{pool}"}}') == 0
        wait_for(lambda: it.tasks() <= tasks, "the end of all tasks")


def test_mixed_requests_over_both_drivers(record: Record, it: World) -> None:
    load = Load()
    requests = [*READS, *READS, *WRITES]
    asyncio.run(clients(it.service.port, requests, load, each=4, number=210))
    for outcomes in by_kind(load.outcomes).values():
        record.add("PgBouncer: no fault", outcomes)
    assert len(load.outcomes) > 5000
    assert statuses(load.outcomes).keys() == {200, 201}
    check_rows(it, load.outcomes)


def test_a_restart_costs_no_read(record: Record, it: World, bouncer: PgBouncer) -> None:
    each_second = (SIZE + MAX_WAITING) / 2
    with loaded(it.service.port, READS, each_second) as load:
        wait_for(lambda: len(load.outcomes) > each_second, "a second's load")
        begun = time.monotonic()
        bouncer.restart()
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * each_second, "three seconds' load")
    for outcomes in by_kind(load.outcomes).values():
        record.add("PgBouncer: restart", outcomes, begun=begun, ended=ended)
    assert statuses(load.outcomes).keys() == {200}, Counter(each.text for each in load.outcomes)


def test_a_pause_costs_nothing(record: Record, it: World, bouncer: PgBouncer) -> None:
    """As long as all that come meanwhile find a place in the queue."""
    pause = 0.3 * DEADLINE
    each_second = (SIZE + MAX_WAITING) / pause
    with loaded(it.service.port, [*READS, *WRITES], each_second) as load:
        wait_for(lambda: len(load.outcomes) > each_second, "a second's load")
        begun = time.monotonic()
        with bouncer.paused():
            time.sleep(pause)  # what a pause is
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 2 * each_second, "two seconds' load")
    for outcomes in by_kind(load.outcomes).values():
        record.add(f"PgBouncer: pause, {pause:g} s", outcomes, begun=begun, ended=ended)
    assert statuses(load.outcomes).keys() == {200, 201}, Counter(
        each.text for each in load.outcomes
    )
    check_rows(it, load.outcomes)


class TestFull:
    """One connection for all, for which nobody waits longer than a second."""

    @pytest.fixture
    def bouncer(self) -> PgBouncer:
        return PgBouncer(default_pool_size=1, query_wait_timeout=1)

    def test_who_waits_in_vain_is_told_in_time(self, record: Record, it: World) -> None:
        read = Request("GET", "/users/1")
        load = Load()
        with it.locked("users"):
            asyncio.run(clients(it.service.port, [read], load, each=SIZE, number=2))
        record.add("PgBouncer: all its connections taken", load.outcomes)
        assert statuses(load.outcomes).keys() <= {503, 504}
        assert longest(load.outcomes) <= DEADLINE + 1  # other tests run at the same time
        after = Load()

        def is_back() -> bool:
            asyncio.run(clients(it.service.port, [read], after, each=1, number=1))
            return after.outcomes[-1].is_ok

        wait_for(is_back, "a success", BACK + 1)
