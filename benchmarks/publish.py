"""Write what `make bench` measured to docs/benchmarks.json, and its tables where they are shown.

`python benchmarks/publish.py`, as `make bench` does at its end. What was not measured this time
stays as it was, with its own date.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

import marked
from side_by_side import FIGURES, Comparison, Curve, Loaded, Part, Point, Rows, Sample

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "benchmarks.json"
NAMES = ("routes", "overload", "scaling", "batch")
TEXTBOOK, SERVICE = "textbook", "the service"
EVERYTHING, SILENT = "the service, everything on", "stripped, no access log"


def parts(figures: dict[str, Any]) -> list[Part]:
    """All that was measured, in the order in which `make bench` does."""
    return [each for name in NAMES if name in figures for each in parts_of(figures[name])]


def parts_of(figures: dict[str, Any]) -> list[Part]:
    return [part(each) for each in figures["parts"]]


def part(figures: dict[str, Any]) -> Part:
    if "times" in figures:
        return Comparison(**figures)
    if "rows" in figures:
        return Rows(**figures)
    if "points" in figures:
        points = {
            way: {load: [Point(**point) for point in points] for load, points in loads.items()}
            for way, loads in figures["points"].items()
        }
        return Curve(figures["title"], points)
    samples = {
        way: [Sample(**sample) for sample in samples] for way, samples in figures["samples"].items()
    }
    return Loaded(figures["title"], samples)


def loaded(figures: dict[str, Any]) -> list[Loaded]:
    return [each for each in parts(figures) if isinstance(each, Loaded)]


def about(figures: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in figures["where"].items()) + "."


def beside(figures: dict[str, Any], own: str, other: str, heading: str) -> str:
    """Where both were measured, in requests/s, in ratios and in p99."""
    lines = [
        f"| | requests/s | {heading} | times as fast | as little CPU | p99 | {heading} |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for each in loaded(figures):
        if not {own, other} <= each.samples.keys():
            continue
        cells = [each.title]
        for way in (own, other):
            cells.append(f"{median(1 / sample.per_request for sample in each.samples[way]):.0f}")
        cells += [each.ratio(own, "per_request"), each.ratio(own, "cpu")]
        for way in (own, other):
            p99 = median(sample.p99 for sample in each.samples[way])
            cells.append(f"{1000 * p99:.1f} ms")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sections(figures: dict[str, Any]) -> dict[str, str]:
    """What stands between the lines `begin` and `end` of each document."""
    texts: list[str] = []
    for name in NAMES:
        if name in figures:
            texts += [about(figures[name]), *(each.table() for each in parts_of(figures[name]))]
    shown = [
        about(figures["routes"]),
        beside(figures, SERVICE, TEXTBOOK, "textbook"),
        "With every feature, and without deadline, ids, log, figures and bounds:",
        beside(figures, EVERYTHING, SILENT, "without"),
    ]
    return {
        "README.md": "\n\n".join(shown),
        "docs/benchmarks.md": "\n\n".join(texts),
    }


def documents(figures: dict[str, Any]) -> dict[str, str]:
    """Each document as it should be."""
    return marked.documents("benchmarks", sections(figures))


def main() -> None:
    figures = json.loads(KEPT.read_text(encoding="utf-8"))
    for name in NAMES:
        measured = FIGURES / f"{name}.json"
        if measured.exists():
            figures[name] = json.loads(measured.read_text(encoding="utf-8"))
    KEPT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, text in documents(figures).items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
