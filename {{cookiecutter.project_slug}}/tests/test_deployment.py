"""What deploys the service is valid, sets what there is to set, and leaves it time to end."""

import re
from collections.abc import Iterable

import kubernetes_validate
import pytest
from fastapi import FastAPI

from app.settings import Settings
from dev import ROOT
from dev.document_settings import settings_of
from tests.manifests import Document, compose, containers, environment, only, production

VARIABLES = {setting.variable for setting in settings_of(Settings)}

# What libraries read by themselves.
OTHERS = re.compile(r"PG[A-Z]+|(FASTAPI_)?OTEL_\w+")


def unknown(names: Iterable[str]) -> set[str]:
    """Those that nobody reads."""
    return {name for name in names if name not in VARIABLES and not OTHERS.fullmatch(name)}


@pytest.mark.parametrize(
    "document", production(), ids=lambda document: f"{document['kind']} {document['metadata']}"
)
def test_a_manifest(document: Document) -> None:
    # The schemas of an operator's kinds come with it; its group is a domain of its own.
    if "." not in document["apiVersion"]:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert unknown(environment(document)) == set()


def test_a_variable_that_is_misspelt_is_found() -> None:
    deployment = only("Deployment")
    [container] = containers(deployment)
    container["env"].append({"name": "SHUTDOWN_GRAZE", "value": "10"})
    assert unknown(environment(deployment)) == {"SHUTDOWN_GRAZE"}


def test_no_variable_is_set_twice() -> None:
    for document in production():
        for container in containers(document):
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names))


def test_the_variables_of_compose_files() -> None:
    for name, service in compose():
        if name == "service" or service.get("build") == ".":
            assert unknown(service.get("environment", {})) == set()


def test_the_variables_of_documents() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)) == VARIABLES
    readme = (ROOT / "README.md").read_text("utf-8")
    nested = re.findall(r"\b[A-Z]+__[A-Z_]+\b", readme)
    exported = re.findall(r"\b([A-Z][A-Z0-9_]+)=", readme)
    assert unknown(nested) == set()
    assert unknown(exported) - {"PORT"} == set()


def test_the_settings_of_production_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(only("Deployment")).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    Settings()


def test_there_is_time_to_end() -> None:
    deployment = only("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    [container] = containers(deployment)
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = float(environment(deployment)["SHUTDOWN_GRACE"] or 0)
    assert grace > 0
    assert pod["terminationGracePeriodSeconds"] > leaving + grace
    [stop] = [
        service["stop_grace_period"]
        for name, service in compose()
        if name == "service" and service.get("build") == "."
    ]
    assert float(stop.removesuffix("s")) > Settings().shutdown_grace


def test_probes_ask_what_there_is(app: FastAPI) -> None:
    [container] = containers(only("Deployment"))
    probes = {name: container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert set(paths.values()) <= app.openapi()["paths"].keys()
    assert only("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "service"
