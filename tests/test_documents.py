"""Figures in the documents are those that were measured; links lead where they say."""

import json
import re
from types import ModuleType

import pytest

import publish as benchmarks
from combinations import CHOICES, QUESTIONS, SETTINGS
from faults import publish as faults
from guide import GUIDE, LINK, linked
from working_tree import ROOT


@pytest.mark.parametrize("of", [faults, benchmarks], ids=["faults", "benchmarks"])
def test_they_are_as_they_were_written(of: ModuleType) -> None:
    for name, text in of.documents(json.loads(of.KEPT.read_text(encoding="utf-8"))).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name


def test_the_guide_leads_to_what_it_quotes() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert len(LINK.findall(text)) > 30
    assert linked(text) == text, "run `python tests/guide.py`"


def test_the_questions_are_shown_as_they_are_asked() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for number, name in enumerate(QUESTIONS, start=1):
        prompt = SETTINGS["__prompts__"][name]
        asked = prompt if isinstance(prompt, str) else prompt["__prompt__"]
        assert f"\n  [{number}/{len(QUESTIONS)}] {asked}" in text
        for value in CHOICES.get(name, []):
            assert f" - {prompt[value]}\n" in text


def test_the_version_is_that_of_the_changelog() -> None:
    version = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["__version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0] == version
