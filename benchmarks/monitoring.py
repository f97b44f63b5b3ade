"""What monitoring costs a read: the same service with it and without, as processes, in turns."""

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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import dev
from dev.servers.postgres import execute

from side_by_side import Comparison, report

BUILD = Path(__file__).parent.parent / "build"
SERVICES = {
    "without monitoring": BUILD / "unmonitored" / "pooled-service",
    "with monitoring": BUILD / "pooled-service",
}
PATH = "/users/1"
CLIENTS = 32
ROUNDS = 11
SECONDS = 4  # each way, each round
# The services on one CPU, all that they talk to on the other.
SERVER_CPU, CLIENT_CPU = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU time that it has used."""
        _, _, fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / TICKS


@contextmanager
def serving(project: Path, variables: Mapping[str, str]) -> Iterator[Process]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["taskset", "--cpu-list", SERVER_CPU, sys.executable, "-m", "uvicorn", "app.main:app"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=project,
        env={**environment, **variables},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            if process.poll() is not None:
                raise SystemExit(f"{project}: the service ended")
            time.sleep(0.1)
        yield Process(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def load(process: Process) -> tuple[float, float]:
    """Milliseconds for 1000 reads, of the clock and of the service's CPU time."""
    before = process.cpu()
    command = ["taskset", "--cpu-list", CLIENT_CPU, "wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}"]
    url = f"http://127.0.0.1:{process.port}{PATH}"
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", output)
    if not found or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"the load went wrong:\n{output}")
    requests = int(found[1])
    seconds = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return 1e6 * seconds / requests, 1e6 * (process.cpu() - before) / requests


def main() -> None:
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is not installed: apt-get install wrk util-linux")
    clock: dict[str, list[float]] = {name: [] for name in SERVICES}
    cpu: dict[str, list[float]] = {name: [] for name in SERVICES}
    with ExitStack() as stack:
        variables = stack.enter_context(dev.environment(fresh=True))
        row = "INSERT INTO users (name, email) VALUES ('x', 'x@example.com')"
        asyncio.run(execute(variables["DATABASE_URL"], row))
        running = {
            name: stack.enter_context(serving(project, variables))
            for name, project in SERVICES.items()
        }
        for process in running.values():
            load(process)  # to warm up
        for number in range(ROUNDS):
            # Whoever is first in a round may find the machine in another state.
            for name in sorted(running, reverse=bool(number % 2)):
                times = load(running[name])
                clock[name].append(times[0])
                cpu[name].append(times[1])
    versions = {name: version(name) for name in ("fastapi", "sqlalchemy", "uvicorn")}
    report(
        "monitoring",
        f"1000 x GET {PATH}, {CLIENTS} clients",
        versions,
        Comparison("by the clock", clock),
        Comparison("CPU time of the service", cpu),
    )


if __name__ == "__main__":
    main()
