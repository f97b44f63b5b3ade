"""Each database pool's state and figures."""

from dataclasses import fields

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.health import State, check_all
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
    states = await check_all(pools, request.app.state.leftovers)
    if any(pool.required and states[pool.name] == "down" for pool in pools):
        response.status_code = 503
    return {
        pool.name: DatabasePool(state=states[pool.name], figures=figures(pool.stats()))
        for pool in pools
    }


def figures(stats: PoolStats) -> dict[str, int]:
    values = {field.name: getattr(stats, field.name) for field in fields(stats)}
    return {name: value for name, value in values.items() if isinstance(value, int)}
