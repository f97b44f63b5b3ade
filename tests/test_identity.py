"""The template is a working service as it stands, and generation only deletes."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from cookiecutter.generate import is_copy_only_path
from cookiecutter.utils import create_env_with_context

from combinations import EVERYTHING, QUESTIONS, SETTINGS
from conftest import Bake
from post_gen_project import OWNED_BY
from project import Project

SERVICE = "{{cookiecutter.project_slug}}"
LICENSE = "LICENSE"  # is nothing but a tag that includes the chosen text
TAG_LINE = re.compile(r"^[ \t]*# \{%.*%\}\n", re.MULTILINE)
VARIABLE = re.compile(r"\{\{(.*?)\}\}")

# There is no else: with one, generation would choose, and not only delete.
KNOWN_TAG = re.compile(
    r"""\s*\#\ \{%\ (
        if\ (cookiecutter\.\w+|\ or\ |\ and\ |not\ |[()])+
        | endif
        | filter(\ replace\("[^"]+",\ cookiecutter\.[\w.]+\)(\ \|(?!\ %))?)+
        | endfilter
        | include\ "licenses/"\ ~\ cookiecutter\.license
    )\ %\}\n""",
    re.VERBOSE,
)
WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@pytest.fixture(scope="module")
def service(template: Path) -> Project:
    """The service as it stands in the template. Only to be read."""
    return Project(template / SERVICE, {})


def is_rendered(file: str) -> bool:
    return not is_copy_only_path(file, {"cookiecutter": SETTINGS})


def tag_lines(service: Project, suffix: str = "") -> list[str]:
    return [
        line
        for file in service.files()
        if file.endswith(suffix)
        for line in service.read(file).splitlines(keepends=True)
        if "# {%" in line
    ]


def test_everything_on_is_the_template_less_its_tags(service: Project, bake: Bake) -> None:
    project = bake(**EVERYTHING)
    expression = create_env_with_context({"cookiecutter": SETTINGS}).compile_expression

    def value(variable: re.Match[str]) -> str:
        return str(expression(variable[1])(cookiecutter=project.answers))

    assert list(project.files()) == list(service.files())
    for file in service.files():
        expected = service.read(file)
        if is_rendered(file):
            expected = VARIABLE.sub(value, TAG_LINE.sub("", expected))
        if file != LICENSE:
            assert project.read(file) == expected, file


def test_the_unrendered_service_is_lint_clean_and_format_clean(service: Project) -> None:
    service.lint()


def test_all_python_files_parse_unrendered(service: Project) -> None:
    files = [file for file in service.files() if file.endswith(".py")]
    assert files
    for file in files:
        ast.parse(service.read(file), file)


def test_conditions_are_few(service: Project) -> None:
    assert 0 < len(tag_lines(service)) <= 70
    assert 0 < len(tag_lines(service, ".py")) <= 25


def test_tags_stand_alone_and_never_say_else(service: Project) -> None:
    assert [line for line in tag_lines(service) if not KNOWN_TAG.fullmatch(line)] == []


def test_conditions_and_variables_name_answers_that_exist(service: Project) -> None:
    named = {
        name
        for file in service.files()
        if is_rendered(file)
        for name in re.findall(r"cookiecutter\.(\w+)", service.read(file))
    }
    assert named - SETTINGS.keys() == set()
    assert named


def test_what_is_copied_holds_no_tag(service: Project) -> None:
    files = [file for file in service.files() if not is_rendered(file)]
    assert files
    assert [file for file in files if re.search(r"# \{%|cookiecutter", service.read(file))] == []


def test_every_owned_path_exists_and_belongs_to_a_toggle(service: Project) -> None:
    assert {feature for features, _ in OWNED_BY for feature in features} <= QUESTIONS.keys()
    paths = [path for _, owned in OWNED_BY for path in owned]
    assert [path for path in paths if not (service.path / path).exists()] == []


def test_every_file_name_is_legal_on_windows(template: Path) -> None:
    names = [
        path.relative_to(template).as_posix()
        for path in template.rglob("*")
        if ".git" not in path.parts
    ]
    illegal = [
        name
        for name in names
        for part in name.split("/")
        if re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', part) or WINDOWS_DEVICE.fullmatch(part)
    ]
    assert illegal == []
    same = Counter(name.casefold() for name in names)
    assert [name for name, times in same.items() if times > 1] == []
