"""What monitoring/ and compose.yaml hold: whole, and in agreement with each other."""

import itertools
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from combinations import EVERYTHING
from conftest import Bake
from project import Project


@pytest.fixture
def project(bake: Bake) -> Project:
    return bake(**EVERYTHING)


def dashboards(project: Project) -> list[dict[str, Any]]:
    found = sorted((project.path / "monitoring" / "dashboards").glob("*.json"))
    assert found
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def parsed(project: Project, pattern: str) -> dict[str, Any]:
    found = {path.name: path for path in project.path.glob(pattern)}
    assert found
    return {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in found.items()}


def test_every_alert_says_what_to_do_and_is_tested_both_ways(project: Project) -> None:
    tests = parsed(project, "monitoring/alerts_test/*.yml")
    for file, rules in parsed(project, "monitoring/alerts/*.yml").items():
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            name = rule["alert"]
            assert rule["labels"]["severity"] in ("page", "ticket"), name
            assert rule["annotations"].keys() == {"summary", "description"}, name
            assert any(
                fires(case, name) and any(not each["exp_samples"] for each in case)
                for case in (test["promql_expr_test"] for test in tests[file]["tests"])
            ), name


def fires(case: list[dict[str, Any]], alert: str) -> bool:
    samples = [sample for each in case for sample in each["exp_samples"]]
    return any(f'alertname="{alert}"' in sample["labels"] for sample in samples)


def test_dashboards_are_whole(project: Project) -> None:
    found = dashboards(project)
    assert len({dashboard["uid"] for dashboard in found}) == len(found)
    for dashboard in found:
        assert dashboard["schemaVersion"] >= 39
        panels = dashboard["panels"]
        assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
        assert len({panel["title"] for panel in panels}) == len(panels)
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        for panel in panels:
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            for target in panel["targets"]:
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
                assert used <= variables, panel["title"]
        for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
            assert not overlap(one, other), (one, other)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_containers_find_each_other_and_their_files(project: Project) -> None:
    services: dict[str, Any] = {}
    for file in ("compose.yaml", "compose.monitoring.yaml"):
        services |= yaml.safe_load(project.read(file))["services"]
    mounts: dict[str, str] = {}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith("./"):
                assert (project.path / source).exists(), volume
                mounts[target] = source
    assert "/tmp" in services["service"]["tmpfs"]

    prometheus = yaml.safe_load(project.read("monitoring/prometheus.yml"))
    assert mounts["/etc/prometheus/prometheus.yml"] == "./monitoring/prometheus.yml"
    assert prometheus["rule_files"] == ["alerts/*.yml"]
    assert mounts["/etc/prometheus/alerts"] == "./monitoring/alerts"
    (job,) = prometheus["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services

    provisioning = "monitoring/grafana/provisioning"
    assert mounts["/etc/grafana/provisioning"] == f"./{provisioning}"
    (sources,) = parsed(project, f"{provisioning}/datasources/*.yml").values()
    (source,) = sources["datasources"]
    assert urlsplit(source["url"]).hostname in services
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    (providers,) = parsed(project, f"{provisioning}/dashboards/*.yml").values()
    (provider,) = providers["providers"]
    assert mounts[provider["options"]["path"]] == "./monitoring/dashboards"
