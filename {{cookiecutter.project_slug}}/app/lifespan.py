"""The pools' life: opened in the settings' order, closed in reverse, a failed start undone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app import internal, shutdown
from app.parts import modules
from app.pools.base import Pool


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Open the pools; each is in a request's state by its name and by the roles it has.

    The list of them in `app.state.pools` is all that health and metrics know.
    """
    grace = app.state.settings.shutdown_grace
    shutdown.bound(app, grace)
    async with AsyncExitStack() as stack:
        opened: dict[str, Pool] = {}
        for opening in app.state.settings.pools(opened):
            pool = await stack.enter_async_context(opening)
            opened[pool.name] = pool
        app.state.pools = list(opened.values())
        for module in modules("background"):
            await stack.enter_async_context(module.running(app))
        await stack.enter_async_context(
            internal.listening(app, app.state.settings.internal_address)
        )
        stack.push_async_callback(app.state.leftovers.settle, shutdown.LEFTOVERS * grace)
        yield {role: pool for pool in opened.values() for role in (pool.name, *pool.roles)}
