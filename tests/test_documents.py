"""Figures in the documents are those that were measured."""

import json
from types import ModuleType

import pytest

from faults import publish as faults
from working_tree import ROOT


@pytest.mark.parametrize("of", [faults], ids=["faults"])
def test_they_are_as_they_were_written(of: ModuleType) -> None:
    for name, text in of.documents(json.loads(of.KEPT.read_text(encoding="utf-8"))).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name
