"""The connection budget, checked at start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from app.budget.arithmetic import excess
from app.health import check
from app.pools.postgres import DatabaseStats

log = structlog.get_logger(__name__)


class OverBudget(Exception):
    """More connections may be opened than a server has room for."""


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Warn when the pools may open too many connections; raise OverBudget when that is strict.

    A server that is away now is not asked again: the gauges say it later.
    """
    databases = [pool for pool in app.state.pools if isinstance(pool.stats(), DatabaseStats)]
    # Each learns its server, and has its first connection open.
    await asyncio.gather(*(check(pool, app.state.leftovers) for pool in databases))
    for sentence in excess(app.state.pools):
        log.warning(sentence)
        if app.state.settings.budget == "strict":
            raise OverBudget(sentence)
    yield
