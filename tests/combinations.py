"""Every answer set that there is, read from cookiecutter.json."""

import itertools
import json
from typing import Any

from working_tree import ROOT

Answers = dict[str, Any]

SETTINGS: Answers = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS = {name: default for name, default in SETTINGS.items() if not name.startswith("_")}
TOGGLES = [name for name, default in QUESTIONS.items() if isinstance(default, bool)]
CHOICES = {name: default for name, default in QUESTIONS.items() if isinstance(default, list)}
FREE_TEXT = [
    name
    for name, default in QUESTIONS.items()
    if isinstance(default, str) and name != "project_slug"
]
EVERYTHING = dict.fromkeys(TOGGLES, True)


def has_a_pool(answers: Answers) -> bool:
    return any(answers[toggle] for toggle in TOGGLES if toggle != "monitoring")


def label(answers: Answers) -> str:
    """A name for a test: the toggles that are on."""
    return "+".join(toggle for toggle in TOGGLES if answers[toggle]) or "nothing"


COMBINATIONS = [
    dict(zip(TOGGLES, values, strict=True))
    for values in itertools.product([True, False], repeat=len(TOGGLES))
]
ACCEPTED = [answers for answers in COMBINATIONS if has_a_pool(answers)]
REFUSED = [answers for answers in COMBINATIONS if not has_a_pool(answers)]


def project_of(answers: Answers) -> Answers:
    """The toggles that say what is generated: several databases bring SQLAlchemy with them."""
    return answers | {"sqlalchemy_pool": answers["sqlalchemy_pool"] or answers["multi_db"]}


# Those whose projects differ; `test_accepted.py` shows that the others' are the same as theirs.
DISTINCT = [answers for answers in ACCEPTED if project_of(answers) == answers]
