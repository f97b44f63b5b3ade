"""A request leaves no cycle of references behind, which would wait for the garbage collector."""

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Message
from uvicorn import Config


async def get(app: FastAPI, path: str, state: Mapping[str, Any] | None) -> None:
    """As the server does it; a client would leave garbage of its own."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app({**scope, "state": dict(state or {})}, receive, send)


async def left_by(app: FastAPI, paths: list[str]) -> dict[str, int]:
    """How many objects some requests for each of these leave to the collector."""
    left: dict[str, int] = {}
    async with app.router.lifespan_context(app) as state:
        for path in paths:
            each = path.format(resource="thing", item_id=1, user_id=1)
            await asyncio.create_task(get(app, each, state))  # which fills caches
            gc.collect()
            gc.freeze()  # so that the next one has little to look at
            for _ in range(3):
                await asyncio.create_task(get(app, each, state))
            left[path] = gc.collect()
    return left


def test_what_a_request_leaves_is_freed_at_once(app: FastAPI) -> None:
    contexts = iter_route_contexts(app.routes)
    paths = [it.path for it in contexts if it.path and it.methods and "GET" in it.methods]
    assert "/health/live" in paths
    # The server's own loop: asyncio's keeps timers that were cancelled.
    with asyncio.Runner(loop_factory=Config(app).get_loop_factory()) as runner:
        assert runner.run(left_by(app, paths)) == dict.fromkeys(paths, 0)
