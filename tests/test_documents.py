"""Figures in the documents are those that were measured."""

import json

from faults.publish import KEPT, documents
from working_tree import ROOT


def test_the_faults_are_as_the_suite_wrote_them() -> None:
    for name, text in documents(json.loads(KEPT.read_text(encoding="utf-8"))).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name
