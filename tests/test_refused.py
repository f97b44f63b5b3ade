"""What cannot give a working service is refused before anything is written, with what to do."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import ACCEPTED, COMBINATIONS, EVERYTHING, REFUSED, TOGGLES, Answers, label
from conftest import Bake
from pre_gen_project import problems

NAMES = {"project_name": "Pooled Service", "project_slug": "pooled-service"}
NOT_LEGAL = "use lower-case letters, digits and dashes, start with a letter"

Refuse = Callable[..., str]


@pytest.fixture
def refuse(
    run_cookiecutter: Callable[..., subprocess.CompletedProcess[str]],
    template: Path,
    home: dict[str, str],
    tmp_path: Path,
) -> Refuse:
    """Fail unless the answers are refused and leave nothing behind; return what was said."""

    def refuse(**answers: object) -> str:
        before = generated(tmp_path)
        # In the configuration a toggle is a boolean for every version of Cookiecutter.
        toggles = {name: answer for name, answer in answers.items() if name in TOGGLES}
        with Path(home["COOKIECUTTER_CONFIG"]).open("a") as config:
            config.write(f"default_context: {json.dumps(toggles)}\n")
        typed = [f"{name}={answer}" for name, answer in answers.items() if name not in TOGGLES]
        process = run_cookiecutter(template, "--no-input", *typed)
        assert process.returncode != 0
        assert generated(tmp_path) == before
        return process.stderr + process.stdout

    return refuse


def generated(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if directory / "home" not in path.parents}


def test_two_of_the_32_answer_sets_are_refused() -> None:
    assert (len(COMBINATIONS), len(ACCEPTED), len(REFUSED)) == (32, 30, 2)


@pytest.mark.parametrize("answers", REFUSED, ids=label)
def test_no_pool(refuse: Refuse, answers: Answers) -> None:
    said = refuse(**answers)
    assert "answer yes to at least one of" in said
    assert all(toggle in said for toggle in TOGGLES if toggle != "monitoring")


@pytest.mark.parametrize("slug", ["a.b", "a b", "Abc", "1a", "a-", "a/b", "a/b/c", "../x"])
def test_slug_that_is_not_a_legal_name(refuse: Refuse, slug: str) -> None:
    said = refuse(project_slug=slug)
    assert NOT_LEGAL in said
    assert repr(slug) in said


@pytest.mark.parametrize(
    "slug",
    [
        "", ".", "..", "~", "-", "-a", "--help", "a_b", "größe", "名前", "🚀", "a\\b", "a\tb",
        "a\n", "a\nb", "a\x00", "a'b", 'a"b', "{{ 7*7 }}", "$(touch pwned)", '");import os#',
    ],
)  # fmt: skip
def test_slug_that_may_not_even_be_a_directory(slug: str) -> None:
    (problem,) = problems(NAMES | EVERYTHING | {"project_slug": slug})
    assert problem.startswith(f"project_slug {slug!r} is not a legal name")
    assert NOT_LEGAL in problem


def test_slug_that_is_an_absolute_path(refuse: Refuse, here: Path) -> None:
    assert NOT_LEGAL in refuse(project_slug=here / "deep" / "down")


@pytest.mark.parametrize("slug", ["", ".", "..", "../.."])
def test_slug_that_is_an_existing_directory(refuse: Refuse, slug: str) -> None:
    # Cookiecutter itself refuses these, before it runs any hook.
    assert "directory already exists" in refuse(project_slug=slug)


@pytest.mark.parametrize("slug", ["con", "nul", "com1", "lpt9"])
def test_slug_that_windows_gives_to_a_device(slug: str) -> None:
    (problem,) = problems(NAMES | EVERYTHING | {"project_slug": slug})
    assert f"choose another, for example '{slug}-service'" in problem


@pytest.mark.parametrize("slug", ["fastapi", "sqlalchemy", "ruff"])
def test_slug_that_is_a_dependency(refuse: Refuse, slug: str) -> None:
    said = refuse(project_slug=slug)
    assert "depends on" in said
    assert f"choose another, for example '{slug}-service'" in said


@pytest.mark.parametrize("name", ["", " ", "\t \n"])
def test_name_that_is_blank(refuse: Refuse, name: str) -> None:
    assert "project_name is empty" in refuse(project_name=name)


@pytest.mark.parametrize("answer", [{"python_version": "2.7"}, {"license": "GPL"}])
def test_choice_that_is_not_offered(refuse: Refuse, answer: Answers) -> None:
    assert "the choices are" in refuse(**answer)


def test_all_problems_are_told_at_once(refuse: Refuse) -> None:
    said = refuse(project_name="", project_slug="A.B", **REFUSED[0])
    assert said.count("\n  - ") == 3


@pytest.mark.parametrize("slug", ["a", "class", "import", "a1", "order-service-2"])
def test_slugs_that_are_accepted(bake: Bake, slug: str) -> None:
    project = bake(project_slug=slug)
    assert project.path.name == slug
    assert project.pyproject()["project"]["name"] == slug


def test_no_accepted_answer_set_has_a_problem() -> None:
    assert [problems(NAMES | toggles) for toggles in ACCEPTED] == [[]] * len(ACCEPTED)


def test_a_toggle_that_is_text() -> None:
    # Cookiecutter 2.6 leaves what is given on the command line as it is, and "no" is true.
    (problem,) = problems(NAMES | EVERYTHING | {"multi_db": "no", "monitoring": "yes"})
    assert problem.startswith("multi_db, monitoring: ")
