"""What the page shows, from what /metrics says."""

import re
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf
from typing import Any

from prometheus_client import Metric

# A pool's metric: which figure it is, and of which kind.
NAME = re.compile(r"\w+?_pool_(?P<figure>\w+?)(_seconds)?(?P<kind>_bucket|_total|_count|_sum|)")
GAUGES = {"checked_out", "idle", "in_use", "limit", "max", "waiting"}
QUANTILES = (0.5, 0.99)
WINDOW = 60  # readings, one each second, that the quantiles are of
WORKERS = 256  # whose last counts are kept: more than there are, as new ones replace them

# A pool, a figure, and what tells its parts apart: a bucket's bound, or a label.
Series = tuple[str, str, float | str]
Counts = Mapping[Series, float]


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """As Prometheus' `histogram_quantile`: linear within a bucket. None if nothing was observed."""
    bounds = sorted(buckets)
    counts = list(accumulate((buckets[bound] for bound in bounds), max))
    rank = q * counts[-1]
    if not rank:
        return None
    i = bisect_left(counts, rank)
    lower, below = (bounds[i - 1], counts[i - 1]) if i else (0, 0)
    if bounds[i] == inf:
        return lower
    return round(lower + (bounds[i] - lower) * (rank - below) / (counts[i] - below), 6)


class Readings:
    """Makes of one reading of the metrics after another what the page shows."""

    def __init__(self) -> None:
        self._last: dict[str, Counts] = {}
        self._total: defaultdict[Series, float] = defaultdict(float)
        self._window: deque[Counts] = deque(maxlen=WINDOW + 1)

    def add(self, metrics: Iterable[Metric], time: float) -> dict[str, Any]:
        """The pools' figures, all workers together, and what was counted since the last reading."""
        pools: dict[str, dict[str, Any]] = defaultdict(dict)
        counts: dict[str, dict[Series, float]] = defaultdict(dict)
        for sample in (sample for metric in metrics for sample in metric.samples):
            labels = dict(sample.labels)
            pool, worker, bound = (labels.pop(label, "") for label in ("pool", "worker", "le"))
            name = NAME.fullmatch(sample.name)
            if not pool or not name:
                continue
            figure, kind = name["figure"], name["kind"]
            if kind == "_total" or figure in GAUGES:
                pools[pool][figure] = pools[pool].get(figure, 0) + sample.value
            if kind in ("_total", "_bucket"):
                label = "".join(labels.values())
                counts[worker][pool, figure, float(bound) if bound else label] = sample.value

        happened: defaultdict[Series, float] = defaultdict(float)
        for series, growth in self._growth(counts):
            self._total[series] += growth
            if growth and isinstance(series[2], str):
                happened[series] += growth
        self._window.append(dict(self._total))

        durations: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
        for (pool, figure, part), total in self._total.items():
            if isinstance(part, float) and pool in pools:
                before = self._window[0].get((pool, figure, part), 0)
                durations[pool, figure][part] = total - before
        for (pool, figure), buckets in durations.items():
            pools[pool][figure] = [quantile(q, buckets) for q in QUANTILES]
        events = [[*series, count] for series, count in happened.items()]
        return {"time": round(time, 3), "workers": len(counts), "pools": pools, "events": events}

    def _growth(self, counts: Mapping[str, Counts]) -> Iterator[tuple[Series, float]]:
        """By how much each worker's counters have grown; never less than nothing.

        One that is new begins with what it says first; one that was silent goes on from there.
        """
        for worker, counted in counts.items():
            last = self._last.pop(worker, counted)
            self._last[worker] = counted
            if len(self._last) > WORKERS:
                del self._last[next(iter(self._last))]
            for series, count in counted.items():
                before = last.get(series, 0)
                yield series, count - before if count >= before else count
