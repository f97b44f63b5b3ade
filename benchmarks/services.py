"""Services as processes, on one CPU; the load on them, and all that they talk to, on another."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dev
from dev.servers.postgres import execute, run

from side_by_side import Sample

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
SERVICE = BUILD / "pooled-service"


def variant(name: str) -> Path:
    """The service with other answers."""
    return BUILD / name / "pooled-service"


LOGS = BUILD / "benchmarks" / "logs"

OTHER_CPU = 1  # the services have the first
PATIENCE = 30  # seconds for a service to start
TICKS = os.sysconf("SC_CLK_TCK")
ROWS = (
    "INSERT INTO users (name, email) VALUES ('x', 'x@example.com')",
    """INSERT INTO items (name, value) VALUES ('x', '{"number": 1, "tags": ["a"]}')""",
)


@dataclass(frozen=True)
class App:
    """An ASGI application, and where it is."""

    name: str
    module: str = "app.main:app"
    directory: Path = SERVICE
    workers: int = 1
    cpus: str = "0"
    server: str = "uvicorn"
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Process:
    """A service that runs."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU time that it and its workers have used."""
        used = 0
        for pid in self._processes():
            _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            used += sum(map(int, fields.split()[11:13]))
        return used / TICKS

    def memory(self) -> int:
        """Bytes that it and its workers had in memory at the most, each for itself."""
        statuses = (Path(f"/proc/{pid}/status").read_text() for pid in self._processes())
        found = (re.search(r"VmHWM:\s+(\d+) kB", status) for status in statuses)
        return 1024 * sum(int(size[1]) for size in found if size)

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                return bool(answer.status < 300)
        except urllib.error.URLError:
            return False

    def load(self, workload: str, clients: int, seconds: float) -> Sample:
        """A closed loop of so many clients. Raises SystemExit if any answer is no success."""
        before = self.cpu()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}", "--latency", "--timeout=30"]
        script = ["-s", str(HERE / "load.lua"), f"http://127.0.0.1:{self.port}"]
        arguments = ["--", workload, str(time.time_ns())]
        output = subprocess.run(
            [*command, *script, *arguments], capture_output=True, text=True, check=True
        ).stdout
        requests = re.search(r"(\d+) requests in (\S+?),", output)
        p50, p99 = (re.search(rf"^ +{share}% +(\S+)", output, re.M) for share in (50, 99))
        wrong = "Non-2xx" in output or "Socket errors" in output
        if wrong or not (requests and p50 and p99) or requests[1] == "0":
            raise SystemExit(f"the load went wrong:\n{output}")
        number = int(requests[1])
        return Sample(
            per_request=duration(requests[2]) / number,
            p50=duration(p50[1]),
            p99=duration(p99[1]),
            cpu=(self.cpu() - before) / number,
            memory=self.memory(),
        )


def duration(text: str) -> float:
    """Seconds, of what wrk calls 1.2ms."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert found, text
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[found[2]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(app: App, variables: Mapping[str, str], path: str) -> Iterator[Process]:
    """The service, once it answers at this path, as its server runs it when nothing is said."""
    port = free_port()
    command = [sys.executable, "-m", app.server, app.module, "--port", str(port)]
    if app.server == "granian":
        command += ["--interface", "asgi", "--http", "1"]
    if app.workers > 1:
        command += ["--workers", str(app.workers)]
    path_of_modules = os.pathsep.join(map(str, (app.directory, HERE)))
    inherited = {**os.environ, "PYTHONPATH": path_of_modules}
    LOGS.mkdir(parents=True, exist_ok=True)
    log = (LOGS / f"{app.name.replace(' ', '-')}.log").open("w")
    process = subprocess.Popen(
        ["taskset", "--cpu-list", app.cpus, *command],
        cwd=app.directory,
        env={**inherited, **variables, **app.variables},
        stdout=log,
        stderr=log,
    )
    try:
        it = Process(process.pid, port)
        end = time.monotonic() + PATIENCE
        while not it.answers(path):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{app.name}: no success at {path}; see {log.name}")
            time.sleep(0.1)
        yield it
    finally:
        process.terminate()
        process.wait()
        log.close()


@contextmanager
def surroundings() -> Iterator[dict[str, str]]:
    """What the services talk to, with a user and an item; the variables that lead to it."""
    missing = [program for program in ("wrk", "taskset") if not shutil.which(program)]
    if missing:
        raise SystemExit(f"{missing[0]} is not installed: apt-get install wrk util-linux")
    os.sched_setaffinity(0, {OTHER_CPU})  # and what this process starts
    with dev.environment(fresh=True) as variables:
        url = variables["DATABASE_URL"]
        # Enough for all pools of all that is compared.
        asyncio.run(execute(url, "ALTER SYSTEM SET max_connections = 500", *ROWS))
        if dev.given("DATABASE_URL") is None:
            [data] = parse_qs(urlsplit(url).query)["host"]
            run("pg_ctl", Path(data), "restart", "--silent")
        yield variables


def in_turns(
    apps: Sequence[App],
    variables: Mapping[str, str],
    workload: str,
    path: str,
    *,
    clients: int,
    rounds: int,
    seconds: float,
) -> dict[str, list[Sample]]:
    """A load on each of the apps in each round, after one to warm it up."""
    samples: dict[str, list[Sample]] = {app.name: [] for app in apps}
    with ExitStack() as stack:
        processes = {app.name: stack.enter_context(running(app, variables, path)) for app in apps}
        for process in processes.values():
            process.load(workload, clients, seconds)
        for number in range(rounds):
            # Whoever is first in a round may find the machine in another state.
            for app in apps if number % 2 else reversed(apps):
                samples[app.name].append(processes[app.name].load(workload, clients, seconds))
    return samples
