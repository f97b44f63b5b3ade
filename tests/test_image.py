"""The container image: its steps are done in a directory, since an engine for it is not everywhere.

What only a container has is not seen here: the user that it makes, and a read-only file system.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from combinations import EVERYTHING
from image import build
from project import Project, environment
from running import Service, free_port, servers, started
from test_services import Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

# None of these is needed to run a service.
TOOLS = {"gcc", "mypy", "pytest", "ruff", "uv"}


def test_the_image(install: Install, workshop: Path) -> None:
    installed = install(**EVERYTHING)
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", "Dockerfile"],
        cwd=installed.project.path,
        capture_output=True,
        text=True,
    )
    assert (linted.returncode, linted.stdout) == (0, "")

    place = workshop / "image"
    place.mkdir()
    image = build(installed.project.path, place, Path(sys.executable), environment())
    assert image.user == "10001"
    assert image.left_out == ["useradd --system --uid 10001 service"]
    programs = {path.name for path in (image.workdir / ".venv" / "bin").iterdir()}
    assert {"alembic", "uvicorn"} <= programs
    assert not programs & TOOLS
    assert not (image.root / "usr" / "local" / "bin" / "uv").exists()
    assert not (image.workdir / "tests").exists()

    files = image.files()
    service = Project(image.workdir, {}, image.environment | {"HOME": "/nowhere"})
    port = free_port()
    with servers(installed.project, installed.python) as variables:
        service.run("alembic", "upgrade", "head", variables=variables)  # as compose.yaml says
        command = [str(port) if each == "8000" else each for each in image.command]
        log = place / "service.log"
        with started(service, log, *command, variables=variables) as process:
            running = Service(port, process)
            running.wait_until_ready()
            service.run(*(each.replace(":8000/", f":{port}/") for each in image.healthcheck))
            assert running.call("GET", "/users/1").status == 200
            assert running.stop() == 0
        unhealthy = subprocess.run(
            [each.replace(":8000/", f":{port}/") for each in image.healthcheck],
            env=dict(service.environment),
            capture_output=True,
        )
        assert unhealthy.returncode == 1
    assert image.files() == files, "it has to work where it can write nothing"
    shutil.rmtree(place)
