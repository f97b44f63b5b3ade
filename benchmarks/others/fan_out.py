"""The generated service with a route that asks its upstream for three things at once."""

import asyncio
import json
from typing import Any

from app.external.client import fetch
from app.main import create_app, spare_collector
from app.pools.aiohttp import HttpPool
from app.retry import Retrying

app = create_app()
spare_collector()


@app.get("/fan-out")
async def fan_out(pool: HttpPool, retry: Retrying) -> Any:
    resources = ("one", "two", "three")
    answers = await asyncio.gather(*(fetch(pool, retry, each) for each in resources))
    return [json.loads(answer) for answer in answers]
