"""Liveness, which touches nothing, and readiness, which asks every pool in bounded time."""

import asyncio
from collections.abc import Iterable
from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.deadline import Leftovers
from app.pools.base import Pool, PoolError

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/health", tags=["health"])

# Seconds that a pool has for its answer; as long as Kubernetes waits for a probe by default.
CHECK_TIMEOUT = 0.9

State = Literal["up", "down"]


class Live(BaseModel):
    status: Literal["live"] = "live"


class Ready(BaseModel):
    status: Literal["ready", "not ready"]
    pools: dict[str, State]


async def check(pool: Pool, leftovers: Leftovers) -> State:
    try:
        await leftovers.within(CHECK_TIMEOUT, pool.ping())
    except (PoolError, OSError) as error:
        log.warning("pool is down", pool=pool.name, error=str(error) or type(error).__name__)
        return "down"
    return "up"


async def check_all(pools: Iterable[Pool], leftovers: Leftovers) -> dict[str, State]:
    pools = list(pools)
    states = await asyncio.gather(*(check(pool, leftovers) for pool in pools))
    return {pool.name: state for pool, state in zip(pools, states, strict=True)}


@router.get("/live")
async def live() -> Live:
    """Whether the process runs."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready}})
async def ready(request: Request, response: Response) -> Ready:
    """Whether requests can be served: a pool that others can stand in for does not decide it."""
    pools: list[Pool] = request.app.state.pools
    states = await check_all(pools, request.app.state.leftovers)
    is_ready = all(states[pool.name] == "up" for pool in pools if pool.required)
    response.status_code = 200 if is_ready else 503
    return Ready(status="ready" if is_ready else "not ready", pools=states)
