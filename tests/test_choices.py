"""Every value of every choice, baked once, with its effect."""

import re

import pytest

from combinations import CHOICES
from conftest import Bake

LICENSES = {
    "MIT": ("MIT License", "Permission is hereby granted, free of charge", "MIT"),
    "Apache-2.0": ("Apache License", "END OF TERMS AND CONDITIONS", "Apache-2.0"),
    "BSD-3-Clause": ("BSD 3-Clause License", "Neither the name of the copyright", "BSD-3-Clause"),
    "Proprietary": ("All rights reserved.", "confidential", "LicenseRef-Proprietary"),
}


def test_every_choice_is_tested() -> None:
    assert CHOICES.keys() == {"python_version", "license"}
    assert set(CHOICES["license"]) == LICENSES.keys()


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_python_version(bake: Bake, version: str) -> None:
    project = bake(python_version=version)
    pyproject = project.pyproject()
    assert pyproject["project"]["requires-python"] == f">={version}"
    assert pyproject["tool"]["mypy"]["python_version"] == version
    assert "target-version" not in pyproject["tool"]["ruff"]  # ruff reads requires-python
    project.lint()


@pytest.mark.parametrize("chosen", CHOICES["license"])
def test_license(bake: Bake, chosen: str) -> None:
    project = bake(license=chosen, author_name="Ada  Lovelace\n")
    title, sentence, expression = LICENSES[chosen]
    text = project.read("LICENSE")
    assert title in text
    assert sentence in text
    assert re.search(r"^ *Copyright (\(c\) )?20\d\d Ada Lovelace$", text, re.MULTILINE)
    assert project.pyproject()["project"]["license"] == expression
    assert chosen in project.read("README.md")
    others = LICENSES.keys() - {chosen}
    assert not any(LICENSES[other][1] in text for other in others)
