"""Structured logs: JSON lines unless a person is watching, and one line for each request."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import answer_unexpected

log = structlog.get_logger(__name__)

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# The request that is being served; its route is known once it has been found.
_request: ContextVar[Scope] = ContextVar("request")


def add_request(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Say in every line that is logged for a request which one it is, and which route serves it."""
    if request := _request.get(None):
        event["request_id"] = request["state"]["request_id"]
        if route := getattr(request.get("route"), "path", None):
            event.setdefault("route", route)
    return event


# What is said of every event.
PROCESSORS: list[structlog.typing.Processor] = [
    add_request,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


# Made once, which `json.dumps` would do for each line.
_encode = json.JSONEncoder(default=repr).encode


def to_json(event: structlog.typing.EventDict, **_: object) -> str:
    return _encode(event)


def renderers() -> list[structlog.typing.Processor]:
    """What makes a line of an event."""
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(to_json)]


def configure(level: str) -> None:
    """Send everything that is logged, by libraries too, to standard error in one form."""
    shared = [
        structlog.contextvars.merge_contextvars,
        *PROCESSORS,
        structlog.stdlib.add_logger_name,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers()],
        )
    )
    threshold = logging.getLevelNamesMapping()[level]
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.getLogger("app").setLevel(threshold)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        # Our line of a request says more, and uvicorn makes none for a logger that leads nowhere.
        logging.getLogger(name).propagate = name != "uvicorn.access"


# Is told of each request's end: its scope, the status of its answer, and the seconds it took.
Observer = Callable[[Scope, int, float], None]


class RequestLog:
    """Gives each request an id, logs its end, and answers 500 to what nothing else has caught."""

    def __init__(self, app: ASGIApp, level: str, observers: Sequence[Observer]) -> None:
        self._app = app
        self._observers = observers
        # Past the standard library's logging, which costs three times as much.
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(sys.stderr),
            processors=[*PROCESSORS, *renderers()],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        ).bind(logger=__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id
        _request.set(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("unexpected error")
            if status:
                raise
            await answer_unexpected()(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - started
            for observe in self._observers:
                observe(scope, status, seconds)
            with suppress(OSError):  # no answer fails because a disk is full
                self._log.info(
                    "request", method=scope["method"], status=status, duration=round(seconds, 6)
                )
