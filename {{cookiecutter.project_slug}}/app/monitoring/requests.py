"""How long requests take, by route and status."""

from collections import defaultdict
from collections.abc import Iterable

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from app.monitoring.collector import PoolCollector, histogram
from app.pools.base import Durations

NAME = "http_server_request_duration_seconds"
HELP = "Time from a request to the end of its answer."

# Others count as one, as OpenTelemetry has it: whoever invents methods makes no series.
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class RequestCollector(Collector):
    """A histogram of our own, read when Prometheus asks: its library's costs each request more."""

    def __init__(self) -> None:
        # By method, route and status.
        self._requests: dict[tuple[str, str, int], Durations] = defaultdict(Durations)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Take note of a request's end; one that ended without an answer failed."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        self._requests[method, route, status or 500].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        metric = Metric(NAME, HELP, "histogram")
        for (method, route, status), durations in self._requests.items():
            labels = {"method": method, "route": route, "status": str(status)}
            for suffix, bucket, value in histogram(durations):
                metric.add_sample(f"{NAME}{suffix}", labels | bucket, value)
        return [metric]


def install(app: FastAPI) -> None:
    requests = RequestCollector()
    app.state.observers.append(requests.observe)
    registry = app.state.registry = CollectorRegistry()
    registry.register(requests)
    GCCollector(registry)
    ProcessCollector(registry=registry)
    registry.register(PoolCollector(lambda: getattr(app.state, "pools", ())))
