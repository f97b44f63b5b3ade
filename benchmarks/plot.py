"""Draw docs/benchmarks.json: how fast the service is, and what overload does to it."""

import json
from pathlib import Path
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from publish import KEPT, SERVICE, TEXTBOOK, parts
from side_by_side import Curve, Loaded

PLOT = Path(KEPT).with_suffix(".svg")
# Readable on white and on black.
INK, COLOURS = "#808080", {TEXTBOOK: "#c05a3c", SERVICE: "#3c8ac0"}

matplotlib.rcParams.update(
    {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "legend.labelcolor": INK,
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def draw_ratios(axes: Axes, measured: list[Loaded]) -> None:
    """How many times as fast as the textbook, with the range over all rounds."""
    cases = [each for each in measured if {TEXTBOOK, SERVICE} <= each.samples.keys()][::-1]
    for row, each in enumerate(cases):
        pairs = zip(each.samples[TEXTBOOK], each.samples[SERVICE], strict=True)
        ratios = [theirs.per_request / own.per_request for theirs, own in pairs]
        axes.barh(row, median(ratios), color=COLOURS[SERVICE])
        axes.plot([min(ratios), max(ratios)], [row, row], color=INK)
    axes.axvline(1, color=COLOURS[TEXTBOOK])
    axes.set_yticks(range(len(cases)), [each.title for each in cases])
    axes.set_title("times as fast as the textbook")


def draw_overload(goodput: Axes, p99: Axes, curve: Curve) -> None:
    for way, loads in curve.points.items():
        factors = [float(load) for load in loads]
        goodputs = [median(each.goodput for each in points) for points in loads.values()]
        best = max(goodputs)
        colour = COLOURS[way]
        goodput.plot(
            factors, [100 * each / best for each in goodputs], "o-", color=colour, label=way
        )
        slowest = [median(each.p99 for each in points) for points in loads.values()]
        p99.plot(factors, slowest, "o-", color=colour, label=way)
    goodput.set_title("goodput, % of its best")
    goodput.set_ylim(0, 105)
    p99.set_title("p99 of all answers, seconds")
    for axes in (goodput, p99):
        axes.set_xlabel("load, times what the connections can do")
        axes.legend(frameon=False)


def main() -> None:
    measured = parts(json.loads(KEPT.read_text(encoding="utf-8")))
    figure = Figure(figsize=(10, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    draw_ratios(
        figure.add_subplot(grid[0, :]), [each for each in measured if isinstance(each, Loaded)]
    )
    for curve in (each for each in measured if isinstance(each, Curve)):
        draw_overload(figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1]), curve)
    figure.savefig(PLOT, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
