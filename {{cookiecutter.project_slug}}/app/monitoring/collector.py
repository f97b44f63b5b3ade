"""The pools' figures, read when Prometheus asks: nothing is counted twice or remembered wrongly."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from itertools import accumulate
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from app.pools.base import BUCKETS, Durations, Pool

# What a sample's name has behind the metric's, its labels, and its value.
Sample = tuple[str, dict[str, str], float]


class PoolCollector(Collector):
    """Every field of a pool's `stats()` is a metric: its prefix and name, with the label `pool`."""

    def __init__(self, pools: Callable[[], Sequence[Pool]]) -> None:
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        metrics: dict[str, Metric] = {}
        for pool in self._pools():
            stats = pool.stats()
            for field in fields(stats):
                kind, unit = described(field)
                name = f"{stats.prefix}_{field.name}{unit}"
                metric = metrics.setdefault(name, Metric(name, field.metadata["help"], kind))
                for suffix, labels, value in samples(field, getattr(stats, field.name)):
                    metric.add_sample(f"{name}{suffix}", {"pool": pool.name, **labels}, value)
        return metrics.values()


def described(field: Field[Any]) -> tuple[str, str]:
    """Prometheus' kind of metric, and the unit at the end of its name."""
    if field.type is Durations:
        return "histogram", "_seconds"
    return "counter" if field.metadata["total"] else "gauge", ""


def samples(
    field: Field[Any], value: int | Mapping[str, int] | Durations | None
) -> Iterator[Sample]:
    suffix = "_total" if field.metadata["total"] else ""
    if value is None:  # not known yet
        return
    if isinstance(value, Durations):
        yield from histogram(value)
    elif isinstance(value, Mapping):
        for part, count in value.items():
            yield suffix, {field.metadata["by"]: part}, count
    else:
        yield suffix, {}, value


def histogram(durations: Durations) -> Iterator[Sample]:
    *bounds, total = accumulate(durations.counts)
    for bound, count in zip(BUCKETS, bounds, strict=True):
        yield "_bucket", {"le": str(float(bound))}, count
    yield "_bucket", {"le": "+Inf"}, total
    yield "_count", {}, total
    yield "_sum", {}, durations.sum
