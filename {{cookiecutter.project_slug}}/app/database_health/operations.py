"""Each database pool's state and figures."""

from dataclasses import fields

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.health import State, is_healthy
from app.pools.base import PoolStats
from app.pools.postgres import DatabaseStats

router = APIRouter(prefix="/health", tags=["health"])


class DatabasePool(BaseModel):
    state: State
    figures: dict[str, int]


@router.get("/db", responses={503: {"model": dict[str, DatabasePool]}})
async def database_health(request: Request, response: Response) -> dict[str, DatabasePool]:
    """503 when the service cannot do without a pool that is down."""
    pools = [pool for pool in request.app.state.pools if isinstance(pool.stats(), DatabaseStats)]
    states = await request.app.state.checks.states()
    response.status_code = 200 if is_healthy(pools, states) else 503
    return {
        pool.name: DatabasePool(state=states[pool.name], figures=figures(pool.stats()))
        for pool in pools
    }


def figures(stats: PoolStats) -> dict[str, int]:
    values = {field.name: getattr(stats, field.name) for field in fields(stats)}
    return {name: value for name, value in values.items() if isinstance(value, int)}
