"""The Kubernetes manifests and compose files, as far as tests have to understand them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dev import ROOT

Document = dict[str, Any]

PRODUCTION = ROOT / "deploy" / "kubernetes" / "production"


def read(file: Path) -> list[Document]:
    documents = yaml.load_all(file.read_text("utf-8"), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def resources(directory: Path) -> tuple[list[Document], list[Document]]:
    """All resources and all patches of a kustomization, and of those that it is made of."""
    [kustomization] = read(directory / "kustomization.yaml")
    found: list[Document] = []
    patches = [
        patch
        for entry in kustomization.get("patches", [])
        for patch in read(directory / entry["path"])
    ]
    for name in [*kustomization.get("resources", []), *kustomization.get("components", [])]:
        if (directory / name).is_dir():
            others, more = resources(directory / name)
            found += others
            patches += more
        else:
            found += read(directory / name)
    return found, patches


def containers(document: Document) -> Iterator[Document]:
    yield from document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


def production() -> list[Document]:
    """What is deployed: each patch adds to the environment of the container of its name."""
    documents, patches = resources(PRODUCTION)
    for patch in patches:
        [target] = [
            document
            for document in documents
            if document["kind"] == patch["kind"] and document["metadata"] == patch["metadata"]
        ]
        for change in containers(patch):
            [container] = [each for each in containers(target) if each["name"] == change["name"]]
            assert change.keys() == {"name", "env"}
            container["env"] += change["env"]
    return documents


def only(kind: str, name: str = "service") -> Document:
    """The resource of this kind and name."""
    [found] = [
        document
        for document in production()
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def environment(document: Document) -> dict[str, str | None]:
    """What is set for all containers; None where a secret says to what."""
    return {
        variable["name"]: variable.get("value")
        for container in containers(document)
        for variable in container.get("env", [])
    }


def compose() -> list[tuple[str, Document]]:
    """The services of all compose files, by name."""
    return [
        service
        for file in sorted(ROOT.glob("compose*.yaml"))
        for document in read(file)
        for service in document["services"].items()
    ]
