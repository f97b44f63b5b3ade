"""How long requests take, by route and status."""

from collections import defaultdict
from collections.abc import Iterable
from time import perf_counter

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.monitoring.collector import PoolCollector, histogram
from app.pools.base import Durations

NAME = "http_server_request_duration_seconds"
HELP = "Time from a request to the end of its answer."

# Others count as one, as OpenTelemetry has it: whoever invents methods makes no series.
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

# By method, route and status.
Requests = defaultdict[tuple[str, str, int], Durations]


class RequestDurations:
    """Observes each request's time until its answer is complete."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 500

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "_OTHER"
            self._requests[method, route, status].observe(perf_counter() - started)


class RequestCollector(Collector):
    """A histogram of our own, read when Prometheus asks: its library's costs each request more."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def collect(self) -> Iterable[Metric]:
        metric = Metric(NAME, HELP, "histogram")
        for (method, route, status), durations in self._requests.items():
            labels = {"method": method, "route": route, "status": str(status)}
            for suffix, bucket, value in histogram(durations):
                metric.add_sample(f"{NAME}{suffix}", labels | bucket, value)
        return [metric]


def install(app: FastAPI) -> None:
    registry = app.state.registry = CollectorRegistry()
    requests: Requests = defaultdict(Durations)
    registry.register(RequestCollector(requests))
    GCCollector(registry)
    ProcessCollector(registry=registry)
    registry.register(PoolCollector(lambda: getattr(app.state, "pools", ())))
    app.add_middleware(RequestDurations, requests=requests)
