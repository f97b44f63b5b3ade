"""Write what `make bench` measured to docs/benchmarks.json, and its tables where they are shown.

`python benchmarks/publish.py`, as `make bench` does at its end.
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


def parts(figures: dict[str, Any]) -> list[Part]:
    """All that was measured, in the order in which it was."""
    return [part(each) for name in NAMES if name in figures for each in figures[name]["parts"]]


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
    return ", ".join(f"{key} {value}" for key, value in figures["routes"]["where"].items()) + "."


def beside_the_textbook(figures: dict[str, Any]) -> str:
    lines = [
        "| | requests/s | textbook | times as fast | as little CPU | p99 | textbook |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for each in loaded(figures):
        if not {TEXTBOOK, SERVICE} <= each.samples.keys():
            continue
        cells = [each.title]
        for way in (SERVICE, TEXTBOOK):
            cells.append(f"{median(1 / sample.per_request for sample in each.samples[way]):.0f}")
        cells += [each.ratio(SERVICE, "per_request"), each.ratio(SERVICE, "cpu")]
        for way in (SERVICE, TEXTBOOK):
            p99 = median(sample.p99 for sample in each.samples[way])
            cells.append(f"{1000 * p99:.1f} ms")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sections(figures: dict[str, Any]) -> dict[str, str]:
    """What stands between the lines `begin` and `end` of each document."""
    tables = "\n\n".join(each.table() for each in parts(figures))
    return {
        "README.md": f"{about(figures)}\n\n{beside_the_textbook(figures)}",
        "docs/benchmarks.md": f"{about(figures)}\n\n{tables}",
    }


def documents(figures: dict[str, Any]) -> dict[str, str]:
    """Each document as it should be."""
    return marked.documents("benchmarks", sections(figures))


def main() -> None:
    files = {name: FIGURES / f"{name}.json" for name in NAMES}
    figures = {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.exists()
    }
    KEPT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, text in documents(figures).items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
