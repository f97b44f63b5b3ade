"""Kubernetes has the same alerts as everyone else."""

import yaml

from dev import ROOT
from dev.alert_rules import documents
from tests.manifests import Document, production


def test_the_rules_are_the_alerts() -> None:
    for path, text in documents().items():
        assert path.read_text(encoding="utf-8") == text, "run `make rules`"


def groups() -> list[Document]:
    return [
        group
        for file in sorted((ROOT / "monitoring" / "alerts").glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]


def test_the_readme_says_what_to_do_about_each() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    alerts = {rule["alert"] for group in groups() for rule in group["rules"]}
    assert {alert for alert in alerts if f"`{alert}`" not in readme} == set()


def test_all_of_them_are_deployed() -> None:
    alerts = groups()
    rules = [document for document in production() if document["kind"] == "PrometheusRule"]
    deployed = [group for rule in rules for group in rule["spec"]["groups"]]
    assert sorted(group["name"] for group in deployed) == sorted(group["name"] for group in alerts)
