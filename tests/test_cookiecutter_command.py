"""What users type: `cookiecutter` from a git URL, on a terminal, replayed, and `cruft`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import CHOICES, EVERYTHING, QUESTIONS, SETTINGS, TOGGLES, Answers
from project import Project

PROMPTS = SETTINGS["__prompts__"]
TYPED = {
    "project_name": """O'Brien's "Größe" 🚀 {{ 7*7 }} # {% if %}""",
    "project_slug": "typed-service",
    "description": r"back\slash and {{ cookiecutter }}",
    "author_name": "名前",
    "author_email": "name@example.com",
    "python_version": "3.12",
    "license": "BSD-3-Clause",
    "sqlalchemy_pool": False,
    "asyncpg_pool": True,
    "aiohttp_pool": False,
    "multi_db": False,
    "monitoring": False,
}
SERVICE = "{{cookiecutter.project_slug}}"

Run = Callable[..., subprocess.CompletedProcess[str]]


class Repository:
    """The template as a git repository of its own, with what is not committed yet."""

    def __init__(self, path: Path, home: dict[str, str]) -> None:
        self.path = path
        self.url = path.as_uri()
        self._project = Project(path, {}, home)
        self._project.run("git", "init", "--quiet", "--initial-branch=main")
        self.commit("first")

    def commit(self, message: str) -> None:
        self._project.run("git", "add", "--all")
        self._project.run("git", "commit", "--quiet", f"--message={message}")


@pytest.fixture
def repository(template: Path, home: dict[str, str], tmp_path: Path) -> Repository:
    # Cookiecutter knows by "git" in a URL that it is one of git.
    path = tmp_path / "git" / "cookiecutter-fastapi-pools"
    shutil.copytree(template, path)
    return Repository(path, home)


def contents(project: Path) -> dict[str, bytes]:
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file()
    }


def answer(name: str) -> str:
    """What is typed for an answer: a choice by its number, a toggle by a letter."""
    if name in CHOICES:
        return str(CHOICES[name].index(TYPED[name]) + 1)
    if name in TOGGLES:
        return "y" if TYPED[name] else "n"
    return str(TYPED[name])


def test_no_input_from_a_git_url(run_cookiecutter: Run, repository: Repository, here: Path) -> None:
    process = run_cookiecutter(repository.url, "--no-input")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert (here / "pooled-service" / "app" / "main.py").exists()
    assert "pooled-service has: SQLAlchemy pool, aiohttp pool, monitoring." in process.stdout
    assert "Python 3.11 or later, licence: MIT." in process.stdout
    assert "cd pooled-service\n  make test\n  make dev\n" in process.stdout


@pytest.mark.posix
def test_every_prompt_typed_then_replayed(
    run_cookiecutter: Run, repository: Repository, home: dict[str, str], here: Path
) -> None:
    import pexpect

    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "cookiecutter", repository.url],
        cwd=str(here),
        env=home | {"COLUMNS": "250", "LINES": "50"},  # wide enough for every prompt
        encoding="utf-8",
        timeout=30,
    )
    for number, name in enumerate(QUESTIONS, start=1):
        prompt = PROMPTS[name]
        terminal.expect_exact(f"[{number}/{len(QUESTIONS)}]")
        terminal.expect_exact(prompt if isinstance(prompt, str) else prompt["__prompt__"])
        for value in CHOICES.get(name, []):
            terminal.expect_exact(prompt[value])
        terminal.expect_exact("): ")  # after the default
        terminal.sendline(answer(name))
    terminal.expect_exact("typed-service has: asyncpg pool.")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0

    typed = Project(here / "typed-service", TYPED)
    metadata = typed.pyproject()["project"]
    assert metadata["name"] == TYPED["project_slug"]
    assert metadata["description"] == TYPED["description"]
    assert metadata["authors"] == [{"name": TYPED["author_name"], "email": TYPED["author_email"]}]
    assert metadata["requires-python"] == ">=3.12"
    assert typed.read("README.md").startswith(f"# {TYPED['project_name']}\n")
    assert "BSD 3-Clause" in typed.read("LICENSE")
    assert (typed.path / "app" / "items").exists()
    assert not (typed.path / "app" / "users").exists()

    first = contents(typed.path)
    shutil.rmtree(typed.path)
    process = run_cookiecutter(repository.path, "--replay")
    assert process.returncode == 0, process.stderr
    assert contents(typed.path) == first


ASYNCPG_ALONE = dict.fromkeys(EVERYTHING, False) | {"asyncpg_pool": True}


@pytest.mark.posix
@pytest.mark.parametrize(
    "answers", [{}, EVERYTHING, ASYNCPG_ALONE], ids=["default", "everything", "asyncpg"]
)
def test_a_project_is_updated_with_cruft(
    repository: Repository, home: dict[str, str], here: Path, answers: Answers
) -> None:
    """Over two commits of the template; what was edited stays, what was not chosen stays away."""
    cruft = (sys.executable, "-m", "cruft")
    given = ("--extra-context", json.dumps(answers))
    Project(here, {}, home).run(*cruft, "create", repository.url, "--no-input", *given)
    project = Project(here / "pooled-service", {}, home)
    project.run("git", "init", "--quiet")
    with (project.path / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("\nA local edit.\n")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=Generated and edited")

    service = Project(repository.path / SERVICE, {}, home)
    _, _, body = service.read("README.md").partition("\n")
    (service.path / "README.md").write_text(f"# A new title\n{body}", encoding="utf-8")
    repository.commit("second")
    (service.path / "app" / "added.py").write_text('"""Added by the template."""\n')
    repository.commit("third")
    project.run(*cruft, "update", "--skip-apply-ask")

    updated = project.read("README.md")
    assert updated.startswith("# A new title\n")
    assert updated.endswith("\nA local edit.\n")
    assert project.read("app/added.py") == '"""Added by the template."""\n'
    assert (project.path / "app" / "items").exists() == answers.get("asyncpg_pool", False)
    project.run(*cruft, "check")
