"""A clean copy of the template, ways to generate from it, and a home that is not the user's."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

import working_tree
from combinations import EVERYTHING
from project import Project, environment

Bake = Callable[..., Project]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that all workers end at about the same time."""

    def weight(item: pytest.Item) -> int:
        if not item.get_closest_marker("services"):
            return 0
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        return sum(parameters.get("answers", EVERYTHING).values())

    items.sort(key=weight, reverse=True)


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the hooks that Cookiecutter renders, and leaves behind, a directory that is cleared."""
    tempfile.tempdir = str(tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is in the working tree, without caches. Only to be read."""
    return working_tree.copy_to(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def bake(template: Path, cookies_session: Any) -> Bake:
    """Generate a project; the same answers give the same project, which is only to be read."""
    baked: dict[str, Project] = {}

    def bake(**answers: Any) -> Project:
        key = repr(sorted(answers.items()))
        if key not in baked:
            result = cookies_session.bake(extra_context=answers, template=str(template))
            if result.exception:
                raise result.exception
            baked[key] = Project(result.project_path, result.context)
        return baked[key]

    return bake


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which Cookiecutter and git read and write nothing of the user's."""
    home = tmp_path / "home"
    home.mkdir()
    config = home / "cookiecutter.yaml"
    config.write_text(f"cookiecutters_dir: {home / 'templates'}\nreplay_dir: {home / 'replay'}\n")
    (home / "tmp").mkdir()
    return environment(
        COOKIECUTTER_CONFIG=str(config),
        GIT_AUTHOR_EMAIL="author@example.com",
        GIT_AUTHOR_NAME="Author",
        GIT_COMMITTER_EMAIL="author@example.com",
        GIT_COMMITTER_NAME="Author",
        GIT_CONFIG_GLOBAL=str(home / "gitconfig"),
        GIT_CONFIG_NOSYSTEM="1",
        HOME=str(home),
        USERPROFILE=str(home),
        XDG_CONFIG_HOME=str(home / ".config"),
        PYTHONUTF8="1",
        TMPDIR=str(home / "tmp"),
        TERM="dumb",
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The directory that a user is in."""
    here = tmp_path / "here"
    here.mkdir()
    return here


@pytest.fixture
def run_cookiecutter(
    home: dict[str, str], here: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the `cookiecutter` command in the directory `here`."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cookiecutter", *arguments],
            cwd=here,
            env=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    return run


@pytest.fixture
def bake_typed(template: Path, here: Path, home: dict[str, str], monkeypatch: Any) -> Bake:
    """Generate a project from answers that come through the prompts, not the command line.

    Cookiecutter renders what it is given on the command line as a template of its own, and leaves
    alone what is typed.
    """

    def bake(**answers: Any) -> Project:
        def typed(name: str, default: Any, *_: Any) -> Any:
            return answers.get(name, default[0] if isinstance(default, list) else default)

        for kind in ("variable", "yes_no", "choice"):
            monkeypatch.setattr(f"cookiecutter.prompt.read_user_{kind}", typed)
        monkeypatch.chdir(here)
        project = cookiecutter(str(template), config_file=home["COOKIECUTTER_CONFIG"])
        return Project(Path(project), answers)

    return bake
