"""Write the runs that are in build/faults to docs/faults.json, and its tables where they are shown.

`python -m faults.publish`, as `make faults-long` does at its end.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import marked
from faults.results import FIGURES, Result, read, table
from working_tree import ROOT

KEPT = ROOT / "docs" / "faults.json"

Runs = list[list[Result]]


def runs_of(figures: dict[str, Any], name: str, wanted: Callable[[Result], bool]) -> Runs:
    runs = [[Result(**each) for each in run] for run in figures[name]]
    return [[each for each in run if wanted(each)] for run in runs]


def everything(_: Result) -> bool:
    return True


def reads_in_silence(result: Result) -> bool:
    """What all stacks were asked for."""
    return result.what == "GET /users/1" and result.fault.startswith(("black hole", "stopped"))


def about(figures: dict[str, Any]) -> str:
    return f"{figures['date']}, {figures['machine']}, runs: {len(figures['faults'])}."


def sections(figures: dict[str, Any]) -> dict[str, str]:
    """What stands between the lines `begin` and `end` of each document."""
    plain = table(runs_of(figures, "plain", everything))
    return {
        "README.md": "\n\n".join(
            [
                about(figures),
                "The service:",
                table(runs_of(figures, "faults", reads_in_silence)),
                "The same read in a black hole of half a minute, as it is commonly written:",
                plain,
            ]
        ),
        "docs/faults.md": "\n\n".join(
            [
                about(figures),
                table(runs_of(figures, "faults", everything)),
                "## The same on plain stacks",
                plain,
            ]
        ),
    }


def documents(figures: dict[str, Any]) -> dict[str, str]:
    """Each document as it should be."""
    return marked.documents("faults", sections(figures))


def main() -> None:
    runs = {
        name: [read(file) for file in sorted(FIGURES.glob(f"{name}-*.json"))]
        for name in ("faults", "plain")
    }
    if not all(runs.values()):
        raise SystemExit(f"{FIGURES} has no runs of both kinds: make faults")
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    figures = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        **{name: [[asdict(each) for each in run] for run in each] for name, each in runs.items()},
    }
    KEPT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, text in documents(figures).items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
