"""Whatever is typed at a free-text prompt stays data."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from combinations import EVERYTHING, FREE_TEXT
from conftest import Bake
from pre_gen_project import DEPENDENCIES
from project import Project

HOSTILE = {
    "quotes": """ "double" 'single' `back` """,
    "apostrophe": "L'Étoile d'O'Brien",
    "three quotes": '""" + __import__(\'os\').system(\'touch pwned\') + """',
    "three apostrophes": "''' + __import__('os').system('touch pwned') + '''",
    "last is a quote": 'ends with "',
    "last is a backslash": "ends with \\",
    "backslashes": r"C:\new\table \u0041 \x41 \" \' \\",
    "newlines": "one\ntwo\r\nthree\n\n",
    "tabs": "\tone\ttwo\t",
    "other blanks": "one\v two\f three\x85four\u2028five\u00a0six",
    "control characters": "bell \a escape \x1b[31m delete \x7f unit \x1f",
    "braces": "{{ }} { } }} {{",
    "expression": "{{ 7*7 }}",
    "expression on cookiecutter": "{{ cookiecutter.__class__ }}",
    "tag": "# {%",
    "whole tag": "# {% if %}",
    "end of a tag": "# {% endif %}",
    "stock tag": "{% raw %} {% endraw %} {%",
    "comment": "{# comment #} {#",
    "emoji": "🚀 👩‍👩‍👧 🏳️‍🌈",
    "letters of others": "名前 имя όνομα নাম",
    "right to left": "שלום \u202eevil\u202c مرحبا",
    "code": '"); import os; os.system("touch pwned") #',
    "code on its own line": '"\nimport os; os.system("touch pwned")\nx = "',
    "shell": "$(touch pwned) `touch pwned` ; touch pwned | touch pwned & ${PATH} $$(touch pwned)",
    "toml": '"\n[tool.evil]\nx = "',
    "toml, multi-line": '"""\n[tool.evil]\nx = """',
    "toml, literal": "'\n[tool.evil]\nx = '",
    "yaml": "x: y\n- evil: true\n&a *a !!python/object:os.system",
    "env": "x\nDATABASE_URL=postgresql://evil/",
    "markdown": "# Title\n```\n[link](javascript:alert(1)) | <script>alert(1)</script> -->",
    "html": "<b>&amp;</b> <!-- -->",
    "percent": "%s %(name)s %d {0} {name}",
    "one letter": "x",
}
SLUG = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


@pytest.fixture(params=HOSTILE.values(), ids=list(HOSTILE))
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(text: str, bake_typed: Bake) -> Project:
    return bake_typed(**EVERYTHING, **dict.fromkeys(FREE_TEXT, text))


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def without_controls(text: str) -> str:
    """What TOML can say of a text, on one line."""
    return on_one_line(re.sub(r"[\x00-\x1f\x7f]", "", on_one_line(text)))


def test_answers_stay_data(project: Project, text: str, here: Path, template: Path) -> None:
    metadata = project.pyproject()["project"]
    assert SLUG.fullmatch(metadata["name"])
    assert metadata["name"] == project.path.name
    (author,) = metadata["authors"]
    for said in (metadata["description"], author["name"], author["email"]):
        assert on_one_line(said) == without_controls(text)
        assert "\n" not in said
    assert "evil" not in project.pyproject()["tool"]
    assert on_one_line(text) in project.read("LICENSE")
    assert project.read("README.md").startswith(f"# {on_one_line(text)}\n")

    for file in project.files():
        content = project.read(file)
        match Path(file).suffix:
            case ".py":
                ast.parse(content, file)
            case ".toml":
                tomllib.loads(content)
            case ".json":
                json.loads(content)
            case ".yml" | ".yaml":
                list(yaml.safe_load_all(content))
    project.lint()
    assert [*here.rglob("pwned"), *template.rglob("pwned")] == []


def test_free_text_reaches_metadata_and_prose_only(bake_typed: Bake) -> None:
    project = bake_typed(**EVERYTHING, **dict.fromkeys(FREE_TEXT, "Sentinel"))
    reached = {file for file in project.files() if "Sentinel" in project.read(file)}
    assert reached == {"LICENSE", "README.md", "pyproject.toml"}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Order Service", "order-service"),
        ("  Ein -- Größen_Dienst!  ", "ein-grossen-dienst"),
        ("3D Print", "service-3d-print"),
        ("...", "service"),
        ("🚀", "service"),
        ("名前", "ming-qian"),
    ],
)
def test_the_slug_is_derived_from_the_name(bake_typed: Bake, name: str, slug: str) -> None:
    assert bake_typed(project_name=name).path.name == slug


def test_every_dependency_is_refused_as_a_slug(bake: Bake) -> None:
    pyproject = bake(**EVERYTHING).pyproject()
    groups = [pyproject["project"]["dependencies"], *pyproject["dependency-groups"].values()]
    requirements = [requirement.lower() for group in groups for requirement in group]
    assert {re.split(r"[^a-z0-9-]", line)[0] for line in requirements} == DEPENDENCIES
