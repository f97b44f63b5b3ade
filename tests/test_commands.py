"""Every command that the two READMEs name is run as it stands there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from combinations import EVERYTHING, QUESTIONS
from project import Project
from running import PATIENCE, Service, free_port, group_lives, servers, started, wait_for
from test_services import Install, Installed, install, workshop
from working_tree import ROOT

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^\$ (.*?)(?: +#.*)?$", re.MULTILINE)
PROGRAM = r"(?:make|cruft|docker|kubectl|promtool)"
NAMED = re.compile(rf"`({PROGRAM}(?: [^`]+)?)`")

# Where a command is run that another test needs anyway, or that runs the tests.
ELSEWHERE = {
    "make demo": "test_services.py",
    "make test": "test_services.py in a service; here, .ci/run",
    "make remove-examples": "test_services.py",
    "make check": "test_services.py in a service; here, .ci/run",
    "cruft": "test_cookiecutter_command.py",
    "cruft update": "test_cookiecutter_command.py",
}
# What takes long, or writes into the documents, is at least there.
ONLY_THERE = {"make bench", "make faults", "make fix", "make test-fast"}
# An engine and a cluster are not everywhere; each service's own tests compare what is named here
# with its settings.
UP = "docker compose --file compose.yaml --file compose.monitoring.yaml up --build"
APPLY = "kubectl apply --kustomize deploy/kubernetes/production"


def commands(readme: str) -> set[str]:
    blocks = "\n".join(BLOCK.findall(readme))
    return set(TYPED.findall(blocks)) | set(NAMED.findall(BLOCK.sub("", readme)))


def test_those_of_the_template(tmp_path: Path, template: Path, home: dict[str, str]) -> None:
    named = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    install, generate = "pip install cookiecutter", "cookiecutter gh:ORG/cookiecutter-fastapi-pools"
    create = "cruft create https://github.com/ORG/cookiecutter-fastapi-pools"
    in_the_service = {"make budget", "make dev", "make migrate", "make settings"}
    others = ELSEWHERE.keys() | ONLY_THERE | in_the_service
    assert named - others == {install, generate, create}

    shown = Project(ROOT, {}).run("make")
    assert all(f"  {command} - " in shown for command in named & ONLY_THERE)

    origin = tmp_path / "github" / "ORG" / "cookiecutter-fastapi-pools.git"
    shutil.copytree(template, origin)
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "first"]):
        Project(origin, {}, home).run("git", *arguments)
    instead = f"url.{(tmp_path / 'github').as_uri()}/.insteadOf"
    Project(origin, {}, home).run("git", "config", "--global", instead, "https://github.com/")

    fresh = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    path = os.pathsep.join([f"{fresh}/bin", str(Path(sys.executable).parent), home["PATH"]])
    user = Project(tmp_path, {}, home | {"PATH": path})
    user.run(*shlex.split(install))
    accept_all(generate, user)
    assert (tmp_path / "pooled-service" / "README.md").exists()
    shutil.rmtree(tmp_path / "pooled-service")
    accept_all(create, user)
    assert (tmp_path / "pooled-service" / ".cruft.json").exists()


def accept_all(command: str, user: Project) -> None:
    """Type a command, and Enter at each of its questions."""
    import pexpect

    terminal = pexpect.spawn(
        command, cwd=str(user.path), env=dict(user.environment), encoding="utf-8", timeout=PATIENCE
    )
    for number in range(1, len(QUESTIONS) + 1):
        terminal.expect_exact(f"[{number}/{len(QUESTIONS)}]")
        terminal.expect_exact("): ")
        terminal.sendline()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_those_of_the_service(install: Install) -> None:
    installed = install(**EVERYTHING)
    project = installed.project
    run: dict[str, Callable[[str, Installed], None]] = {
        "make": make_alone,
        "make dev": make_dev,
        "make settings": in_a_shell,
        "make migrate": with_a_database,
        "make budget": with_a_database,
        '.venv/bin/alembic revision --autogenerate -m "add orders"': with_a_database,
        "promtool test rules monitoring/alerts_test/*.yml": in_a_shell,
        'uv add "fastapi[opentelemetry]"': in_a_shell,
        UP: names_files,
        APPLY: names_files,
    }
    named = commands(project.read("README.md"))
    exports = {command for command in named if command.startswith("export ")}
    assert named - ELSEWHERE.keys() - exports == run.keys()
    for command, how in run.items():
        how(command, installed)
    traces_arrive(sorted(exports), installed)


def make_alone(command: str, installed: Installed) -> None:
    shown = installed.project.run(command)
    targets = re.findall(r"^([a-z-]+):", installed.project.read("Makefile"), re.MULTILINE)
    assert all(re.search(rf"^  {target} +\w", shown, re.MULTILINE) for target in targets)


def make_dev(command: str, installed: Installed) -> None:
    port = free_port()
    log = installed.project.path.with_name("dev.log")
    with started(installed.project, log, *command.split(), f"PORT={port}") as process:
        service = Service(port, process)
        service.wait_until_ready()
        assert service.call("GET", "/pools").status == 200
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        process.wait(PATIENCE)
        # Python's resource tracker, there because it reloads, ends when it sees its parent gone.
        wait_for(lambda: not group_lives(process.pid), "the end of all its processes")


def in_a_shell(command: str, installed: Installed, **variables: str) -> None:
    path = f"{installed.python.parent}{os.pathsep}{installed.project.environment['PATH']}"
    installed.project.run("sh", "-c", command, variables={**variables, "PATH": path})


def with_a_database(command: str, installed: Installed) -> None:
    with servers(installed.project, installed.python) as variables:
        in_a_shell(command, installed, **variables)


def names_files(command: str, installed: Installed) -> None:
    files = re.findall(r"--(?:file|kustomize) (\S+)", command)
    assert files
    assert all((installed.project.path / file).exists() for file in files)


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Where OpenTelemetry sends traces to, and what it has sent."""
    sent: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def traces_arrive(exports: list[str], installed: Installed) -> None:
    """After `uv add`; the variables are those of the README, but for where the collector is."""
    words = [word for export in exports for word in shlex.split(export)[1:]]
    given = dict(word.split("=", 1) for word in words)
    with (
        collector() as (address, sent),
        servers(installed.project, installed.python) as variables,
    ):
        assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://localhost:4318"
        variables |= given | {"OTEL_EXPORTER_OTLP_ENDPOINT": address}
        variables["PRIMARY__POOL_RECYCLE"] = "0.001"  # so that a read has to connect
        port = free_port()
        log = installed.project.path.with_name("traced.log")
        command = (installed.python, "-m", "uvicorn", "app.main:app", "--port", str(port))
        with started(installed.project, log, *command, variables=variables) as process:
            service = Service(port, process)
            service.wait_until_ready()
            assert service.call("GET", "/users/1").status == 200
            wait_for(lambda: any(b"GET /users/{user_id}" in each for each in sent), "a trace")
            assert any(b"pool connect" in each for each in sent)
            assert service.stop() == 0
