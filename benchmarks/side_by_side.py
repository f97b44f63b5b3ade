"""Ways to do the same, measured in turns on one machine: figures, and no verdict.

Only ratios within a round say something: what else the machine does changes from one moment to the
next, and is much the same for neighbours.
"""

import json
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, strftime
from typing import Any

FIGURES = Path(__file__).parent.parent / "build" / "benchmarks"

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Sample:
    """What one load has seen; times in seconds."""

    per_request: float
    p50: float
    p99: float
    cpu: float
    """CPU time of the service for each request."""
    memory: int
    """Bytes that the service had in memory at the most, so far."""


@dataclass(frozen=True)
class Part(ABC):
    """Ways that were measured in turns, round by round; the others are compared to the first."""

    title: str

    @abstractmethod
    def table(self) -> str:
        """The figures as Markdown."""

    def figures(self) -> dict[str, Any]:
        """All of them."""
        return asdict(self)


@dataclass(frozen=True)
class Loaded(Part):
    """Services under load."""

    samples: dict[str, list[Sample]]

    def table(self) -> str:
        first = next(iter(self.samples))
        lines = [
            f"| {self.title} | requests/s | times {first} | p50 | p99"
            f" | CPU a request | times {first} | memory |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for way, samples in self.samples.items():
            figures = [
                f"{median(1 / each.per_request for each in samples):.0f}",
                self.ratio(way, "per_request"),
                f"{1000 * median(each.p50 for each in samples):.2f} ms",
                f"{1000 * median(each.p99 for each in samples):.2f} ms",
                f"{1e6 * median(each.cpu for each in samples):.0f} µs",
                self.ratio(way, "cpu"),
                f"{max(each.memory for each in samples) / 1e6:.0f} MB",
            ]
            lines.append(f"| {way} | {' | '.join(figures)} |")
        return "\n".join(lines)

    def ratio(self, way: str, figure: str) -> str:
        """How many times as fast as the first, or as little CPU time: median and range."""
        first, own = (
            [getattr(each, figure) for each in self.samples[name]]
            for name in (next(iter(self.samples)), way)
        )
        return spread([a / b for a, b in zip(first, own, strict=True)])


def spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


@dataclass(frozen=True)
class Point:
    """What became of a load that does not wait for answers; a second's requests, and seconds."""

    offered: float
    goodput: float
    """Answers that were a success, and in time to be of use."""
    p99: float
    """Of all answers."""


@dataclass(frozen=True)
class Curve(Part):
    """Services under more and more load, in multiples of what their connections can do."""

    points: dict[str, dict[str, list[Point]]]
    """By way and load, round by round."""

    def table(self) -> str:
        lines = [
            f"| {self.title} | load | offered a second | goodput a second | of its best | p99 |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for way, loads in self.points.items():
            goodputs = {
                load: median(each.goodput for each in points) for load, points in loads.items()
            }
            for load, points in loads.items():
                figures = [
                    f"{load} x",
                    f"{median(each.offered for each in points):.0f}",
                    f"{goodputs[load]:.0f}",
                    f"{100 * goodputs[load] / max(goodputs.values()):.0f} %",
                    f"{median(each.p99 for each in points):.2f} s",
                ]
                lines.append(f"| {way} | {' | '.join(figures)} |")
        return "\n".join(lines)


@dataclass(frozen=True)
class Rows(Part):
    """Figures that are no times."""

    columns: list[str]
    rows: dict[str, list[str]]

    def table(self) -> str:
        lines = [
            f"| {self.title} | {' | '.join(self.columns)} |",
            "|---|" + "--:|" * len(self.columns),
        ]
        lines += [f"| {name} | {' | '.join(figures)} |" for name, figures in self.rows.items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Comparison(Part):
    """Functions in this process; milliseconds."""

    times: dict[str, list[float]]

    def table(self) -> str:
        first = next(iter(self.times))
        lines = [f"| {self.title} | ms | range | times {first} |", "|---|--:|--:|--:|"]
        for way, times in self.times.items():
            ratios = [a / b for a, b in zip(self.times[first], times, strict=True)]
            span = f"{min(times):.4g} to {max(times):.4g}"
            lines.append(f"| {way} | {median(times):.4g} | {span} | {spread(ratios)} |")
        return "\n".join(lines)


async def compare(
    title: str, ways: Mapping[str, Work], after_each: Work, *, rounds: int = 9, warm_up: int = 2
) -> Comparison:
    """Go all ways, one after the other, in each round; those of the warm-up are not counted."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(warm_up + rounds):
        for way, work in ways.items():
            started = perf_counter()
            await work()
            times[way].append(1000 * (perf_counter() - started))
            await after_each()
    return Comparison(title, {way: each[warm_up:] for way, each in times.items()})


def show(part: Part) -> None:
    print(f"{part.table()}\n", flush=True)


def keep(name: str, versions: Mapping[str, str], parts: Sequence[Part]) -> None:
    """Every figure that was measured, and where, as JSON in build/benchmarks."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs"
    where = {"date": strftime("%Y-%m-%d"), "machine": machine, "Python": platform.python_version()}
    figures = {"where": {**where, **versions}, "parts": [part.figures() for part in parts]}
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
