"""Every project with the newest or the lowest versions of what it depends on.

By each Python that is there, or those that PYTHONS names; and without its examples by that which
runs the tests. Not a part of `make test`: what was released today is no fault of a change.
"""

import os

import pytest

from combinations import DISTINCT, Answers, label
from test_services import PYTHONS, Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix, pytest.mark.versions]

NAMED = os.environ.get("PYTHONS", "").split()


@pytest.mark.parametrize("version", NAMED or [each for each in PYTHONS if PYTHONS[each]])
@pytest.mark.parametrize("answers", DISTINCT, ids=label)
def test_dependencies(install: Install, answers: Answers, version: str) -> None:
    python = PYTHONS[version]
    assert python, f"install Python {version}"
    # The lowest of what a project names itself: others' lower bounds are not ours to try.
    installed = install(python, os.environ["RESOLUTION"], python_version=version, **answers)
    assert installed.run("-V").startswith(f"Python {version}.")
    installed.check()


@pytest.mark.parametrize("answers", DISTINCT, ids=label)
def test_without_the_examples(install: Install, answers: Answers) -> None:
    installed = install(None, os.environ["RESOLUTION"], **answers)
    installed.project.run("make", "remove-examples")
    installed.check()
