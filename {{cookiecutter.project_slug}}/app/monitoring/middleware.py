"""How long requests take, by route and status."""

from time import perf_counter

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.monitoring.collector import PoolCollector
from app.pools.base import BUCKETS


class RequestDurations:
    """Observes each request's time until its answer is complete."""

    def __init__(self, app: ASGIApp, histogram: Histogram) -> None:
        self._app = app
        self._histogram = histogram

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
            labels = self._histogram.labels(scope["method"], route, status)
            labels.observe(perf_counter() - started)


def install(app: FastAPI) -> None:
    registry = app.state.registry = CollectorRegistry()
    histogram = Histogram(
        "http_server_request_duration_seconds",
        "Time from a request to the end of its answer.",
        ["method", "route", "status"],
        buckets=BUCKETS,
        registry=registry,
    )
    GCCollector(registry)
    ProcessCollector(registry=registry)
    registry.register(PoolCollector(lambda: getattr(app.state, "pools", ())))
    app.add_middleware(RequestDurations, histogram=histogram)
