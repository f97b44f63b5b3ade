"""Every error becomes an answer here, and only here: `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.pools.base import (
    Contended,
    OutcomeUnknown,
    PoolError,
    PoolFull,
    PoolTimeout,
    TimedOut,
    Unavailable,
)

log = structlog.get_logger(__name__)


# Seconds: a queue of the default length is worked off by then.
RETRY_AFTER = "1"

POOL_ERRORS: dict[type[PoolError], tuple[int, str]] = {
    PoolTimeout: (503, "No connection became free in time; try again."),
    PoolFull: (503, "Too many requests are waiting; try again."),
    Unavailable: (503, "A server that this needs cannot be reached; try again."),
    OutcomeUnknown: (503, "Whether this was stored is not known; look before you try again."),
    Contended: (503, "Others are working on the same; try again."),
    TimedOut: (504, "The work took too long and was stopped."),
}

MEDIA_TYPE = "application/problem+json"


class ProblemBody(BaseModel):
    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
    """With 422: where and why the request does not fit."""


# What the API's description says of every route.
PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {422: PROBLEM, "default": PROBLEM}


class Problem(Exception):
    """An answer other than the one that was asked for; a subclass says which, and its status."""

    status: ClassVar[int]


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, **members},
        status,
        headers,
        media_type=MEDIA_TYPE,
    )


async def answer_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem(error.status, str(error))


async def answer_pool_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PoolError)
    log.warning("pool error", pool=error.pool, type=type(error).__name__, error=str(error))
    status, detail = next(POOL_ERRORS[kind] for kind in type(error).__mro__ if kind in POOL_ERRORS)
    return problem(status, detail, {"Retry-After": RETRY_AFTER} if status == 503 else None)


async def answer_http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)


async def answer_invalid_input(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
    return problem(422, "The request does not fit what is described in the API.", errors=errors)


def answer_unexpected() -> JSONResponse:
    return problem(500, "Something went wrong here; it has been logged.")


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(PoolError, answer_pool_error)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_invalid_input)
