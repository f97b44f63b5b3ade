"""A generated project, and the commands that are run in it."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from combinations import Answers

# What would lead a command away from the project that it is run in.
MISLEADING = (
    "COOKIECUTTER_",
    "DATABASE_URL",
    "GIT_",
    "MAKE",
    "PYTEST_",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would mislead a command, and with `variables`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)
    }
    return inherited | {"PYTHONDONTWRITEBYTECODE": "1"} | variables


@dataclass(frozen=True)
class Project:
    """A directory with a service in it: rendered, or the template's own."""

    path: Path
    answers: Answers
    environment: Mapping[str, str] = field(default_factory=environment)

    def run(
        self,
        *command: str | Path,
        timeout: float = 120,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Run a command in the project and return what it printed; a failure fails the test.

        `timeout` is in seconds; `variables` come on top of the project's environment.
        """
        __tracebackhide__ = True
        line = " ".join(map(str, command))
        try:
            process = subprocess.run(
                command,
                cwd=self.path,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as expired:
            output = expired.stdout.decode(errors="replace") if expired.stdout else ""
            pytest.fail(f"{line}: not done after {timeout} s\n{output}", pytrace=False)
        if process.returncode:
            status = f"exit status {process.returncode}"
            pytest.fail(f"{line}: {status}\n{process.stdout}", pytrace=False)
        return process.stdout

    def tool(self, module: str, *arguments: str) -> str:
        """Run one of the tools that are installed beside these tests."""
        __tracebackhide__ = True
        return self.run(sys.executable, "-m", module, *arguments)

    def files(self) -> Iterator[str]:
        """The paths of all files, with forward slashes."""
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                yield path.relative_to(self.path).as_posix()

    def read(self, file: str) -> str:
        return (self.path / file).read_text(encoding="utf-8")

    def pyproject(self) -> dict[str, Any]:
        return tomllib.loads(self.read("pyproject.toml"))

    def lint(self) -> None:
        """Fail unless the project is lint-clean and format-clean, by its own settings."""
        __tracebackhide__ = True
        self.tool("ruff", "check", "--no-cache", ".")
        self.tool("ruff", "format", "--no-cache", "--check", ".")
