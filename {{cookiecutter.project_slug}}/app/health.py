"""Liveness, which touches nothing, and readiness, which asks every pool in bounded time."""

import asyncio
from time import monotonic
from typing import Literal

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from app.deadline import Leftovers
from app.pools.base import Pool, PoolError

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/health", tags=["health"])

# Seconds that a pool has for its answer; as long as Kubernetes waits for a probe by default.
CHECK_TIMEOUT = 0.9

# Seconds that the answers are good for, however many ask: less than any probe's period.
FRESH = 0.5

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


class Checks:
    """The states of the pools, which are asked once at a time, whoever wants to know."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._begun = 0.0
        self._task: asyncio.Task[dict[str, State]] | None = None

    async def states(self) -> dict[str, State]:
        """Each pool's state, at most `FRESH` seconds old, within `CHECK_TIMEOUT` seconds."""
        if not self._task or (self._task.done() and monotonic() - self._begun > FRESH):
            self._begun = monotonic()
            self._task = asyncio.create_task(self._ask())
        # Whoever gives up leaves the others their answer.
        return await asyncio.shield(self._task)

    async def _ask(self) -> dict[str, State]:
        pools: list[Pool] = self._app.state.pools
        checks = (check(pool, self._app.state.leftovers) for pool in pools)
        states = await asyncio.gather(*checks)
        return {pool.name: state for pool, state in zip(pools, states, strict=True)}


def is_healthy(pools: list[Pool], states: dict[str, State]) -> bool:
    """Whether requests can be served: a pool that others can stand in for does not decide it."""
    return all(states[pool.name] == "up" for pool in pools if pool.required)


@router.get("/live")
async def live() -> Live:
    """Whether the process runs."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready}})
async def ready(request: Request, response: Response) -> Ready:
    """Whether requests can be served, and each pool's state; not ready once the service ends."""
    state = request.app.state
    states = await state.checks.states()
    is_ready = is_healthy(state.pools, states) and not state.is_ending
    response.status_code = 200 if is_ready else 503
    return Ready(status="ready" if is_ready else "not ready", pools=states)
