"""A request leaves no cycle of references behind, which would wait for the garbage collector."""

import gc

from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message


async def get(app: ASGIApp, path: str) -> None:
    """Without a client, which would leave some of its own."""
    headers: list[tuple[bytes, bytes]] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    await app(scope, receive, send)


async def test_what_a_request_leaves_is_freed_at_once(app: FastAPI) -> None:
    contexts = iter_route_contexts(app.routes)
    paths = [it.path for it in contexts if it.path and it.methods and "GET" in it.methods]
    assert "/health/live" in paths
    left: dict[str, int] = {}
    async with LifespanManager(app) as manager:
        for path in paths:
            each = path.format(resource="thing", item_id=1, user_id=1)
            await get(manager.app, each)  # the first fills caches
            gc.collect()
            await get(manager.app, each)
            left[path] = gc.collect()
    assert left == dict.fromkeys(paths, 0)
