"""Each accepted answer set gives files that are whole, clean, and silent of what was not chosen."""

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from combinations import ACCEPTED, DISTINCT, EVERYTHING, Answers, label, project_of
from conftest import Bake
from project import Project

# What speaks of a feature, and where the feature is not the only one to say it.
WORDS = {
    ("sqlalchemy_pool", "multi_db"): r"\busers\b|\bAsyncSession\b|PRIMARY__|/users",
    ("asyncpg_pool",): r"ASYNCPG__|/items|app[./]items|pools[./]asyncpg",
    ("aiohttp_pool",): r"aiohttp|webhook|/external|upstream",
    ("multi_db",): r"(?<!min)(?<!max)replica|analytics",  # those are Kubernetes' words
    ("monitoring",): r"prometheus|grafana|/metrics|/health/db|dashboard|app[./]monitoring",
    ("sqlalchemy_pool", "asyncpg_pool", "multi_db"): (
        r"postgres|sqlalchemy|asyncpg|alembic|migrat|\bDATABASE_URL|/health/db"
    ),
}


# One worker has all tests of a project, which takes longer to generate than to look at.
PROJECTS = [
    pytest.param(answers, id=label(answers), marks=pytest.mark.xdist_group(label(answers)))
    for answers in DISTINCT
]


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, bake: Bake) -> Project:
    return bake(**request.param)


@pytest.mark.parametrize("answers", [each for each in ACCEPTED if each not in DISTINCT], ids=label)
def test_answers_that_give_the_same_project(bake: Bake, answers: Answers) -> None:
    project, same = bake(**answers), bake(**project_of(answers))
    assert contents(project) == contents(same)


def contents(project: Project) -> dict[str, bytes]:
    return {file: (project.path / file).read_bytes() for file in project.files()}


def test_no_tag_is_left(project: Project) -> None:
    for file in project.files():
        assert not re.search(r"# \{%|\{\{ ?cookiecutter|\{#", project.read(file)), file


def test_lint_clean_and_format_clean(project: Project) -> None:
    project.lint()


def test_data_files_parse(project: Project) -> None:
    parsers: dict[str, Callable[[str], Any]] = {
        ".json": json.loads,
        ".toml": tomllib.loads,
        ".yml": lambda text: list(yaml.safe_load_all(text)),
        ".yaml": lambda text: list(yaml.safe_load_all(text)),
    }
    parsed = [
        parsers[suffix](project.read(file))
        for file in project.files()
        for suffix in parsers
        if file.endswith(suffix)
    ]
    assert all(parsed)


def test_no_directory_is_left_empty(project: Project) -> None:
    empty = [path for path in project.path.rglob("*") if path.is_dir() and not list(path.iterdir())]
    assert empty == []


def test_links_lead_to_files(project: Project) -> None:
    for file in project.files():
        if file.endswith(".md"):
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", project.read(file)):
                assert ((project.path / file).parent / link).exists(), f"{file}: {link}"


def test_no_feature_that_was_not_chosen_is_mentioned(project: Project) -> None:
    for features, words in WORDS.items():
        if not any(project.answers[feature] for feature in features):
            assert "\n".join(mentions(project, words)) == "", features


def mentions(project: Project, words: str) -> list[str]:
    return [
        f"{file}:{number}: {line}"
        for file in project.files()
        for number, line in enumerate([file, *project.read(file).splitlines()])
        if re.search(words, line, re.IGNORECASE)
    ]


def test_every_word_is_said_where_its_feature_is_chosen(bake: Bake) -> None:
    project = bake(**EVERYTHING)
    for words in WORDS.values():
        for word in words.split("|"):
            assert mentions(project, word), word
