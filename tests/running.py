"""A generated service that runs: its servers, its process, and calls over HTTP."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any

from project import Project

# Runs in the project: starts what the service needs, says how to reach it, stops at end of input.
SERVERS = """
import json, sys
from dev import environment
with environment() as variables:
    print(json.dumps(variables), flush=True)
    sys.stdin.read()
"""
PATIENCE = 30.0  # seconds for a process to start or end


@dataclass(frozen=True)
class Answer:
    """What came back from a request."""

    status: int
    headers: Message
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Service:
    """A service that listens on loopback."""

    port: int
    process: subprocess.Popen[str]

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request, with JSON if there is a body, and return the answer, whatever it says."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return Answer(response.status, response.headers, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    def wait_until_ready(self, patience: float = PATIENCE) -> None:
        """Return as soon as the service is ready; fail when it ends or after `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            assert self.process.poll() is None, "the service ended"
            try:
                if self.call("GET", "/health/ready").status == 200:
                    return
            except OSError:
                pass  # does not listen yet
            assert time.monotonic() < deadline, "the service was not ready in time"
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask the service to end, as an orchestrator does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> float:
    """Seconds until the condition holds; fails when it never does."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"waited in vain for {what}"
        time.sleep(0.02)
    return time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def running() -> Iterator[tuple[int, int]]:
    """Every process and its group, without those that ended and only wait for their parent."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            _, _, status = (directory / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        state, _, group, *_ = status.split()
        if state not in "ZX":
            yield int(directory.name), int(group)


def lives(process: int) -> bool:
    return any(process == each for each, _ in running())


def group_lives(leader: int) -> bool:
    """Whether anything is left of the process group of `leader`."""
    return any(leader == group for _, group in running())


@contextmanager
def started(
    project: Project,
    log: Path,
    *command: str | Path,
    talks: bool = False,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, killed at the end if anything of it is still there.

    What it prints goes to `log`, which is shown when the context is left by an exception. One that
    `talks` has pipes for its input and output.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=project.path,
            env={**project.environment, **variables},
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    except BaseException:
        print(f"--- {log.name}\n{log.read_text()}")
        raise
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


@contextmanager
def servers(project: Project, python: Path) -> Iterator[dict[str, str]]:
    """What the service needs around it, from the project itself; the variables that say where."""
    log = project.path.with_name("servers.log")
    with started(project, log, python, "-c", SERVERS, talks=True) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            status = process.wait(PATIENCE)
        assert status == 0
        assert not group_lives(process.pid)


@contextmanager
def serving(project: Project, python: Path, variables: Mapping[str, str]) -> Iterator[Service]:
    """The service as a process of its own, ready."""
    log = project.path.with_name("service.log")
    port = free_port()
    command = (python, "-m", "uvicorn", "app.main:app", "--port", str(port))
    with started(project, log, *command, variables=variables) as process:
        service = Service(port, process)
        service.wait_until_ready()
        yield service


@contextmanager
def used(service: Service, requests: list[str], pause: float) -> Iterator[Counter[int]]:
    """Each request again and again, by a client of its own; how often there was which status."""
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def repeat(request: str) -> None:
        method, path = request.split()
        body: object = {} if method == "POST" else None
        while not is_over.wait(pause):
            with suppress(OSError, HTTPException):  # it has ended
                statuses[service.call(method, path, body).status] += 1

    clients = [threading.Thread(target=repeat, args=(request,)) for request in requests]
    for client in clients:
        client.start()
    try:
        yield statuses
    finally:
        is_over.set()
        for client in clients:
            client.join()
