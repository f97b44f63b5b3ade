"""A service as a process, a proxy before its database, and what can be done to that database."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from faults.proxy import Proxy
from running import PATIENCE, Service, free_port, servers, started, wait_for
from test_services import Installed

# Runs in the project: answers SQL that comes line by line with rows, on a connection of its own.
OBSERVER = """
import asyncio, asyncpg, json, os, sys
async def main():
    connection = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            if connection is None or connection.is_closed():
                connection = await asyncpg.connect(os.environ["DATABASE_URL"])
            rows = [list(row) for row in await connection.fetch(json.loads(line))]
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            connection = None
            rows = repr(error)
        print(json.dumps(rows, default=str), flush=True)
asyncio.run(main())
"""

# Runs in the project: has pg_ctl do something with the server of a directory.
PG_CTL = """
import sys
from pathlib import Path
from dev.servers.postgres import run
data = Path(sys.argv[1])
run("pg_ctl", data, *sys.argv[2:], "--silent", "--log", str(data / "log"))
"""


APP_DIR = ("--app-dir", str(Path(__file__).parent))

# The service's, which is none of a superuser, as those may have more connections than others.
ROLE = "service"
SET_UP = (
    f"CREATE ROLE {ROLE} LOGIN",
    f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}",
    # A COMMIT that was acknowledged is to survive a crash, unlike where only speed counts.
    *(f"ALTER SYSTEM RESET {name}" for name in ("fsync", "full_page_writes", "synchronous_commit")),
    "SELECT pg_reload_conf()",
)


class Observer:
    """Looks at the database past the proxy and the service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def rows(self, sql: str) -> list[list[Any]]:
        """Fails when the server does not answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(sql) + "\n")
        self._process.stdin.flush()
        rows = json.loads(self._process.stdout.readline())
        assert isinstance(rows, list), rows
        return rows

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]


@dataclass(frozen=True)
class World:
    """Everything that a fault needs."""

    installed: Installed
    service: Service
    variables: Mapping[str, str]
    """The service's."""
    proxy: Proxy
    observer: Observer
    url: str
    data: Path

    def pg_ctl(self, *arguments: str, data: Path | None = None) -> None:
        """Have pg_ctl do something with the server, or with another one's directory."""
        self.installed.run("-c", PG_CTL, str(data or self.data), *arguments)

    def pools(self) -> dict[str, str]:
        """The state of each pool, as health tells it."""
        found: dict[str, str] = self.service.call("GET", "/health/ready").json["pools"]
        return found

    def server_pids(self) -> list[int]:
        """The server's processes, its own first."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server's processes do nothing, while the kernel goes on to acknowledge for them."""
        pids = self.server_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Nothing comes through between the service and the server, in either direction."""
        self.proxy.swallow()
        try:
            yield
        finally:
            self.proxy.pass_on()

    @contextmanager
    def blip(self) -> Iterator[None]:
        """Nothing comes through for a while, and then all of it."""
        self.proxy.swallow()
        try:
            yield
        finally:
            self.proxy.release()

    @contextmanager
    def down(self) -> Iterator[None]:
        """The server has crashed."""
        self.pg_ctl("stop", "--mode", "immediate")
        try:
            yield
        finally:
            self.pg_ctl("start", "--wait", "-o", f"-h '' -k {self.data}")

    @contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """Nobody else can use these tables."""
        with observing(self.installed, self.url) as holder:
            holder.rows("BEGIN")
            holder.rows(f"LOCK TABLE {', '.join(tables)}")
            yield

    @contextmanager
    def slow_writes(self, seconds: float) -> Iterator[None]:
        """A new user takes so many seconds."""
        self.observer.rows(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        self.observer.rows(
            "CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        try:
            yield
        finally:
            self.observer.rows("DROP FUNCTION slow CASCADE")

    @contextmanager
    def crossing(self) -> Iterator[None]:
        """Whoever counts a visit takes two locks, every other one in reverse order."""
        for statement in (
            "CREATE FUNCTION cross_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM pg_advisory_xact_lock(NEW.id);"
            " PERFORM pg_sleep(0.01);"
            " PERFORM pg_advisory_xact_lock(NEW.id # 1);"  # its neighbour, 3 of 2 and 2 of 3
            " RETURN NEW; END $$",
            "CREATE TRIGGER cross_over BEFORE UPDATE ON users"
            " FOR EACH ROW EXECUTE FUNCTION cross_over()",
            "ALTER SYSTEM SET deadlock_timeout = '10ms'",
            "SELECT pg_reload_conf()",
        ):
            self.observer.rows(statement)
        try:
            yield
        finally:
            for statement in (
                "DROP FUNCTION cross_over CASCADE",
                "ALTER SYSTEM RESET deadlock_timeout",
                "SELECT pg_reload_conf()",
            ):
                self.observer.rows(statement)

    @contextmanager
    def at_most(self, connections: int) -> Iterator[None]:
        """The server lets the service have no more connections."""
        self.observer.rows(f"ALTER ROLE {ROLE} CONNECTION LIMIT {connections}")
        try:
            yield
        finally:
            self.observer.rows(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")

    def connections(self) -> dict[str, tuple[int, int]]:
        """How many the server has from each pool, and how many of them are at work."""
        rows = self.observer.rows(
            "SELECT split_part(application_name, '/', 2), count(*),"
            " count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity"
            " WHERE application_name LIKE '%/%' GROUP BY 1"
        )
        return {pool: (size, busy) for pool, size, busy in rows}

    def gauges(self) -> dict[str, tuple[int, int]]:
        """The same as `/metrics` says it; pools without a connection are left out."""
        text = self.service.call("GET", "/metrics").text
        found: dict[str, dict[str, int]] = {"db_pool_size": {}, "db_pool_checked_out": {}}
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            if name in found:
                pool = rest.split('"')[1]
                found[name][pool] = int(float(rest.rsplit(" ", 1)[1]))
                assert found[name][pool] >= 0, line
        return {
            pool: (size, found["db_pool_checked_out"][pool])
            for pool, size in found["db_pool_size"].items()
            if size
        }

    def kill_connections(self) -> int:
        """How many there were; they are gone."""
        killed = self.observer.rows(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name LIKE '%/%' AND pg_terminate_backend(pid)"
        )
        pids = ", ".join(str(pid) for (pid,) in killed) or "0"
        left = f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({pids})"
        wait_for(lambda: self.observer.value(left) == 0, "the end of connections")
        return len(killed)

    def figure(self, sample: str) -> float:
        """What `/metrics` says; 0 for what has never happened."""
        text = self.service.call("GET", "/metrics").text
        found = re.search(rf"^{re.escape(sample)} ([\d.e+-]+)", text, re.MULTILINE)
        return float(found[1]) if found else 0

    def waiting(self) -> float:
        return self.figure('db_pool_waiting{pool="primary"}')

    def errors(self, kind: str) -> float:
        return self.figure(f'db_pool_errors_total{{pool="primary",type="{kind}"}}')

    def deadlocks(self) -> int:
        """How many the server has broken up so far."""
        self.observer.rows("SELECT pg_stat_force_next_flush()")
        return int(self.observer.value("SELECT sum(deadlocks) FROM pg_stat_database"))

    def memory(self) -> int:
        """Bytes that the service has in memory."""
        pages = Path(f"/proc/{self.service.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def said(self, event: str) -> int:
        """How often the service has logged this."""
        return log_of(self.installed, self.service.port).read_text().count(f'"event":"{event}"')

    def served(self, *prefixes: str) -> int:
        """How many requests of routes that begin so the service has logged."""
        lines = log_of(self.installed, self.service.port).read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        routes = [each.get("route", "") for each in events if each["event"] == "request"]
        return sum(route.startswith(prefixes) for route in routes)

    def tasks(self) -> int:
        """Tasks of the service, that of this request among them."""
        return int(self.service.call("GET", "/tasks").text)

    def files(self) -> int:
        """Open files of the service, sockets among them."""
        return len(list(Path(f"/proc/{self.service.process.pid}/fd").iterdir()))


@contextmanager
def observing(installed: Installed, url: str) -> Iterator[Observer]:
    log = installed.project.path.with_name("observer.log")
    command = (installed.python, "-c", OBSERVER)
    variables = {"DATABASE_URL": url}
    with started(installed.project, log, *command, talks=True, variables=variables) as process:
        yield Observer(process)


@contextmanager
def served(
    installed: Installed, variables: Mapping[str, str], app: str = "troubled", *, ready: bool = True
) -> Iterator[Service]:
    """A service, which is ready unless that is not to be expected."""
    port = free_port()
    command = (installed.python, "-m", "uvicorn", f"{app}:app", *APP_DIR, "--port", str(port))
    log = log_of(installed, port)
    with started(installed.project, log, *command, variables=variables) as process:
        service = Service(port, process)
        if ready:
            service.wait_until_ready(2 * PATIENCE)
        yield service


def log_of(installed: Installed, port: int) -> Path:
    return installed.project.path.with_name(f"service-{port}.log")


def directory_of(url: str) -> Path:
    """Where the socket of a server is, and its data."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])


# What stands beside the server with this URL, or before it: the socket that leads to it, and
# variables for the service.
Surroundings = Callable[[str], AbstractContextManager[tuple[Path, Mapping[str, str]]]]


@contextmanager
def alone(url: str) -> Iterator[tuple[Path, Mapping[str, str]]]:
    yield directory_of(url) / ".s.PGSQL.5432", {}


@contextmanager
def world(
    installed: Installed,
    settings: Mapping[str, str],
    app: str = "troubled",
    surroundings: Surroundings = alone,
) -> Iterator[World]:
    """A service with these settings, whose database pools reach their server through a proxy.

    `app` is the module beside this one that has it.
    """
    with (
        servers(installed.project, installed.python) as variables,
        observing(installed, variables["DATABASE_URL"]) as observer,
    ):
        url = variables["DATABASE_URL"]
        for statement in SET_UP:
            observer.rows(statement)
        with (
            surroundings(url) as (socket, more),
            Proxy(socket).run() as proxy,
        ):
            way = f"postgresql://{ROLE}@127.0.0.1:{proxy.port}{urlsplit(url).path}?sslmode=disable"
            variables = {**variables, "DATABASE_URL": way, **more, **settings}
            with served(installed, variables, app) as service:
                yield World(installed, service, variables, proxy, observer, url, directory_of(url))


def is_settled(it: World) -> bool:
    """Whether the service is ready, uses nothing, and counts what the server counts."""
    if it.service.call("GET", "/health/ready").status != 200:
        return False
    gauges = it.gauges()
    return gauges == it.connections() and all(used == 0 for _, used in gauges.values())
