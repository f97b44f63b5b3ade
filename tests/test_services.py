"""Every project that can be generated, installed, checked, tested and started. Minutes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

import made_up
from combinations import CHOICES, DISTINCT, EVERYTHING, Answers, label
from conftest import Bake
from project import Project, environment
from running import (
    PATIENCE,
    Answer,
    Service,
    free_port,
    group_lives,
    lives,
    servers,
    serving,
    started,
)

pytestmark = [pytest.mark.services, pytest.mark.posix]

UV = (sys.executable, "-m", "uv")
PROBLEM = "application/problem+json"

# Runs in the project: the names of the variables that its settings read.
VARIABLES = """
from pydantic import BaseModel
from app.settings import Settings

def variables(model, prefix=""):
    for name, field in model.model_fields.items():
        nested = [
            each for each in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if nested:
            yield from variables(nested[0], f"{prefix}{name}__")
        else:
            yield f"{prefix}{name}".upper()

print(*variables(Settings))
"""

# What has no default.
NEEDED = {
    "DATABASE_URL": "postgresql://nobody@nowhere.invalid/nothing",
    "AIOHTTP__BASE_URL": "http://nowhere.invalid",
}

# Runs in the project: how many others are connected to the database, how many of them are at work,
# and the server's process.
CONNECTIONS = """
import asyncio, asyncpg, os, pathlib
async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    others = await connection.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    directory = pathlib.Path(await connection.fetchval("SHOW data_directory"))
    print(*others, (directory / "postmaster.pid").read_text().split()[0])
asyncio.run(main())
"""


@dataclass(frozen=True)
class Installed:
    """A project and the Python of its own environment."""

    project: Project
    python: Path

    def run(self, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
        """Run Python with these arguments in the project; a failure fails the test."""
        __tracebackhide__ = True
        return self.project.run(self.python, *arguments, timeout=900, variables=variables)

    def check(self) -> None:
        """Fail unless the project passes its own checks and its own tests."""
        __tracebackhide__ = True
        self.project.run("make", "check", timeout=900)
        self.project.run("make", "test", timeout=900)

    def connections(self, variables: Mapping[str, str]) -> tuple[int, int, int]:
        """How many are connected to the database, how many work, and the server's process."""
        connected, busy, server = self.run("-c", CONNECTIONS, variables=variables).split()
        return int(connected), int(busy), int(server)


Install = Callable[..., Installed]


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """Where one project after another is installed: what mypy and Python keep stays valid there.

    Not in pytest's own directory: each pytest that starts closes that to other users, and root's
    PostgreSQL runs as another one.
    """
    base = os.environ.get("TMPDIR", "/tmp")
    with tempfile.TemporaryDirectory(prefix="workshop-", dir=base) as directory:
        yield Path(directory)


def replace(old: Path, new: Path) -> None:
    """Put a copy in place of the last project.

    Files have new times of change, so that nothing that was kept of others passes for them; but
    those that are the same have the old ones, so that what was kept of them stays valid.
    """
    last = old.with_name("last")
    if old.exists():
        old.rename(last)
    shutil.copytree(new, old, copy_function=shutil.copyfile)
    for file in old.rglob("*"):
        before = last / file.relative_to(old)
        if file.is_file() and before.is_file() and before.read_bytes() == file.read_bytes():
            shutil.copystat(before, file)
    shutil.rmtree(last, ignore_errors=True)


@pytest.fixture(scope="session")
def install(bake: Bake, workshop: Path) -> Install:
    """Generate a project and install it into an environment of its own, instead of the last."""

    def install(
        python: str | None = None, resolution: str = "highest", **answers: object
    ) -> Installed:
        baked = bake(**answers)
        project = Project(
            workshop / "project",
            baked.answers,
            environment(
                HYPOTHESIS_STORAGE_DIRECTORY=str(workshop / "hypothesis"),
                MYPY_CACHE_DIR=str(workshop / "mypy"),
                PYTEST_ADDOPTS="-p no:cacheprovider",
                PYTHONDONTWRITEBYTECODE="",
                PYTHONPYCACHEPREFIX=str(workshop / "bytecode"),
                RUFF_NO_CACHE="true",
                UV_PYTHON_DOWNLOADS="never",
            ),
        )
        replace(project.path, baked.path)
        project.run(*UV, "venv", "--quiet", "--python", python or sys.executable)
        project.run(*UV, "sync", "--quiet", "--resolution", resolution)
        return Installed(project, project.path / ".venv" / "bin" / "python")

    return install


@pytest.mark.parametrize("answers", DISTINCT, ids=label)
def test_service(install: Install, answers: Answers) -> None:
    installed = install(**answers)
    installed.check()

    has_database = any(answers[toggle] for toggle in DATABASE)
    with servers(installed.project, installed.python) as variables:
        assert ("DATABASE_URL" in variables) == has_database
        with serving(installed.project, installed.python, variables) as service:
            call_every_route(service, answers)
            made_up.check(service.port, installed.project.path.parent, examples=10)
            if has_database:
                connected, busy, server = installed.connections(variables)
                assert connected > 0
                assert busy == 0
            call_health(service, answers, with_databases=answers["monitoring"] and has_database)
            assert service.stop() == 0
        if has_database:
            assert installed.connections(variables) == (0, 0, server)
    if has_database:
        assert not lives(server)


DATABASE = ("sqlalchemy_pool", "asyncpg_pool", "multi_db")
ALONE = [
    dict.fromkeys(EVERYTHING, False) | {toggle: True} for toggle in ("asyncpg_pool", "aiohttp_pool")
]


@pytest.mark.parametrize("answers", [EVERYTHING, *ALONE], ids=label)
def test_without_the_examples(install: Install, answers: Answers) -> None:
    """What its owner has written stays. `make test-newest` takes them out of every combination."""
    installed = install(**answers)
    own = installed.project.path / "app" / "orders" / "routes.py"
    own.parent.mkdir()
    own.write_text(
        '"""Orders."""\n\nfrom fastapi import APIRouter\n\nrouter = APIRouter(prefix="/orders")\n'
    )
    installed.project.run("make", "remove-examples")
    assert own.exists()
    installed.check()
    with (
        servers(installed.project, installed.python) as variables,
        serving(installed.project, installed.python, variables) as service,
    ):
        assert service.call("GET", "/health/ready").status == 200
        paths = service.call("GET", "/openapi.json").json["paths"]
        assert paths.keys() <= {"/health/live", "/health/ready", "/health/db", "/metrics"}


def test_settings_as_they_are_seen_from_outside(install: Install) -> None:
    """Once; each project's own tests compare its documents with its settings."""
    installed = install(**EVERYTHING)
    assert documented_variables(installed.project) == set(installed.run("-c", VARIABLES).split())
    refused = subprocess.run(
        [installed.python, "-m", "uvicorn", "app.main:app"],
        cwd=installed.project.path,
        env={**installed.project.environment, "REQUEST_DEADLINE": "0", **NEEDED},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert refused.returncode == 1
    assert refused.stderr == (
        "REQUEST_DEADLINE (0) does not fit: input should be greater than 0; see .env.example.\n"
    )


def documented_variables(project: Project) -> set[str]:
    return set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", project.read(".env.example"), re.MULTILINE))


def call_every_route(service: Service, answers: Answers) -> None:
    """Fail unless every route of the chosen features answers, and no other route is there."""
    routes = {
        "/health/live": True,
        "/health/ready": True,
        "/users": answers["sqlalchemy_pool"] or answers["multi_db"],
        "/users/{user_id}": answers["sqlalchemy_pool"] or answers["multi_db"],
        "/users/{user_id}/visits": answers["sqlalchemy_pool"] or answers["multi_db"],
        "/items/{item_id}": answers["asyncpg_pool"],
        "/items/batch": answers["asyncpg_pool"],
        "/external/{resource}": answers["aiohttp_pool"],
        "/webhook": answers["aiohttp_pool"],
        "/analytics/users": answers["multi_db"],
        "/health/db": answers["monitoring"] and any(answers[toggle] for toggle in DATABASE),
    }
    schema = service.call("GET", "/openapi.json").json
    assert schema["paths"].keys() - {"/metrics"} == {path for path in routes if routes[path]}

    call_health(service, answers, with_databases=routes["/health/db"])
    if routes["/users"]:
        call_users(service)
    if routes["/items/batch"]:
        call_items(service)
    if routes["/webhook"]:
        call_external(service)
    if routes["/analytics/users"]:
        figures = service.call("GET", "/analytics/users")
        assert figures.status == 200
        assert figures.json["users"] >= 1
    call_metrics(service, answers)
    refused(service.call("GET", "/nowhere"), 404)


def pools(answers: Answers) -> set[str]:
    """The pools that exist while only DATABASE_URL is set: the primary stands in for the others."""
    return {
        pool
        for pool, exists in {
            "primary": answers["sqlalchemy_pool"] or answers["multi_db"],
            "asyncpg": answers["asyncpg_pool"],
            "aiohttp": answers["aiohttp_pool"],
        }.items()
        if exists
    }


def refused(answer: Answer, status: int) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, PROBLEM), answer.text
    assert answer.json["status"] == status


def call_health(service: Service, answers: Answers, *, with_databases: bool) -> None:
    assert service.call("GET", "/health/live").status == 200
    ready = service.call("GET", "/health/ready").json
    assert ready["pools"] == dict.fromkeys(pools(answers), "up")
    if with_databases:
        databases = service.call("GET", "/health/db")
        assert databases.status == 200
        assert databases.json.keys() == pools(answers) - {"aiohttp"}
    else:
        refused(service.call("GET", "/health/db"), 404)


def call_users(service: Service) -> None:
    sample = service.call("GET", "/users/1")
    assert sample.status == 200
    assert sample.json.keys() == {"id", "name", "email"}
    new = {"name": "Zoë", "email": "zoe@example.com"}
    created = service.call("POST", "/users", new)
    assert created.status == 201
    assert created.json == {"id": created.json["id"], **new}
    mark = {"X-Read-After": created.headers.get("X-Read-After", "")}  # for replicas that lag
    read = service.call("GET", f"/users/{created.json['id']}", **mark)
    assert (read.status, read.json) == (200, created.json)
    refused(service.call("POST", "/users", new), 409)
    refused(service.call("POST", "/users", {"name": "Zoë"}), 422)
    refused(service.call("GET", "/users/999999"), 404)
    refused(service.call("GET", "/users/one"), 422)
    visits = [service.call("POST", "/users/1/visits").json["visits"] for _ in range(2)]
    assert visits[1] == visits[0] + 1
    refused(service.call("POST", "/users/999999/visits"), 404)


def call_items(service: Service) -> None:
    sample = service.call("GET", "/items/1")
    assert sample.status == 200
    assert sample.json.keys() == {"id", "name", "value"}
    batch = [{"name": f"item {number}", "value": {"number": number}} for number in range(3)]
    inserted = service.call("POST", "/items/batch", batch)
    assert (inserted.status, inserted.json) == (200, {"inserted": 3})
    stored = service.call("GET", f"/items/{sample.json['id'] + 1}")
    assert (stored.status, stored.json["value"]) == (200, {"number": 0})
    refused(service.call("POST", "/items/batch", [{"value": 1}]), 422)
    refused(service.call("GET", "/items/999999"), 404)
    refused(service.call("GET", "/items/one"), 422)


def call_external(service: Service) -> None:
    found = service.call("GET", "/external/thing")
    assert (found.status, found.json["resource"]) == (200, "thing")
    delivered = service.call("POST", "/webhook", {"event": "ping"})
    assert (delivered.status, delivered.json) == (200, {"status": 202})
    refused(service.call("GET", "/external/missing"), 404)
    refused(service.call("GET", "/external/broken"), 502)
    refused(service.call("GET", "/external/text"), 502)
    refused(service.call("GET", "/external/a.b"), 422)
    refused(service.call("POST", "/webhook", [1]), 422)


def call_metrics(service: Service, answers: Answers) -> None:
    metrics = service.call("GET", "/metrics")
    page = service.call("GET", "/pools")
    if not answers["monitoring"]:
        refused(metrics, 404)
        refused(page, 404)
        return
    assert (metrics.status, page.status) == (200, 200)
    figures = re.findall(r'^(db_pool_size|http_pool_limit)\{pool="(\w+)"\}', metrics.text, re.M)
    assert {pool for _, pool in figures} == pools(answers)


def python_of(version: str) -> str | None:
    """The path of this version's interpreter, from the search path or pyenv; None without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for candidate in (
        shutil.which(f"python{version}"),
        *pyenv.glob(f"versions/{version}.*/bin/python{version}"),
    ):
        # What is found may be pyenv's stand-in for a version that is not switched on.
        if candidate and subprocess.run([candidate, "-V"], capture_output=True).returncode == 0:
            return str(candidate)
    return None


PYTHONS = {version: python_of(version) for version in CHOICES["python_version"]}


NEWEST = max(
    (version for version in PYTHONS if PYTHONS[version]), key=lambda version: int(version[2:])
)
# The version that runs these tests has run all that is above.
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    "version", [each for each in PYTHONS if PYTHONS[each] and each not in (OWN, NEWEST)]
)
def test_a_python_in_between(install: Install, version: str) -> None:
    installed = install(PYTHONS[version], python_version=version)
    assert installed.run("-V").startswith(f"Python {version}.")
    installed.project.run("make", "test", timeout=900)


def test_the_template_passes_its_own_checks_as_it_stands_with_the_newest_python(
    install: Install, template: Path, workshop: Path
) -> None:
    installed = install(PYTHONS[NEWEST], python_version=NEWEST, **EVERYTHING)
    assert installed.run("-V").startswith(f"Python {NEWEST}.")
    service = workshop / "{{cookiecutter.project_slug}}"
    shutil.copytree(template / service.name, service)
    (service / ".venv").symlink_to(installed.project.path / ".venv")
    Installed(Project(service, {}, installed.project.environment), installed.python).check()


def test_demo(template: Path, workshop: Path) -> None:
    clone = Project(workshop / "clone", {})
    shutil.copytree(template, clone.path)
    clone.run("git", "init", "--quiet")
    scratch = workshop / "scratch"  # with a short path, as that of PostgreSQL's socket has to be
    scratch.mkdir()
    port = free_port()
    log = workshop / "demo.log"
    variables = {"TMPDIR": str(scratch)}
    with started(clone, log, "make", "demo", f"PORT={port}", variables=variables) as process:
        service = Service(port, process)
        service.wait_until_ready(patience=180)
        call_every_route(service, EVERYTHING)
        databases = [
            int(file.read_text().split()[0]) for file in scratch.glob("*/data/postmaster.pid")
        ]
        assert databases
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        process.wait(PATIENCE)
        assert not group_lives(process.pid)
        assert not any(map(lives, databases))
        assert list(scratch.rglob("PG_VERSION")) == []
