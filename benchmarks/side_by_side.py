"""Ways to do the same, measured in turns on one machine: figures, and no verdict.

Only ratios within a round say something: what else the machine does changes from one moment to the
next, and is much the same for neighbours.
"""

import json
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

FIGURES = Path(__file__).parent.parent / "build" / "benchmarks"

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Comparison:
    """Milliseconds of each way, round by round; the others are compared to the first."""

    title: str
    times: dict[str, list[float]]

    def table(self) -> str:
        first = next(iter(self.times))
        lines = [
            f"| {self.title} | median, ms | range | times as fast as {first}: median | range |",
            "|---|--:|--:|--:|--:|",
        ]
        for way, times in self.times.items():
            ratios = [a / b for a, b in zip(self.times[first], times, strict=True)]
            figures = (
                f"{median(each):.4g} | {min(each):.4g} to {max(each):.4g}"
                for each in (times, ratios)
            )
            lines.append(f"| {way} | {' | '.join(figures)} |")
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


def report(name: str, heading: str, versions: Mapping[str, str], *parts: Comparison) -> None:
    """Print the tables; keep them, and every time that was measured, in build/benchmarks."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs"
    where = {"Python": platform.python_version(), **versions, "machine": machine}
    about = ", ".join(f"{key} {value}" for key, value in where.items())
    text = "\n\n".join([f"# {heading}", about, *(part.table() for part in parts)]) + "\n"
    figures = {"where": where, "comparisons": [asdict(part) for part in parts]}
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.md").write_text(text, encoding="utf-8")
    (FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(text)
