"""The service in front of an upstream."""

# Goes with the examples.

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from asgi_lifespan import LifespanManager

from app.main import create_app
from app.pools.aiohttp import AiohttpPool, AiohttpSettings
from app.settings import Settings
from tests.external.servers import Upstream


@dataclass
class Service:
    """The running service: a client of it, and its pool."""

    client: httpx.AsyncClient
    pool: AiohttpPool

    def figures(self) -> tuple[int, int]:
        stats = self.pool.stats()
        return stats.in_use, stats.waiting


# Starts the service with these settings of its pool, and these of its own.
Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    async with upstream.server:
        yield upstream


@pytest.fixture
def start() -> Start:
    @asynccontextmanager
    async def start(
        url: str, *, request_deadline: float = 5, base_delay: float = 0.001, **pool: object
    ) -> AsyncIterator[Service]:
        settings = Settings(request_deadline=request_deadline)
        settings.retry.base_delay = base_delay
        given = {"base_url": url, "webhook_url": f"{url}hook", "webhook_token": "the-token"}
        settings.aiohttp = AiohttpSettings.model_validate(given | pool)
        app = create_app(settings)
        async with LifespanManager(app) as manager:
            [opened] = [pool for pool in app.state.pools if isinstance(pool, AiohttpPool)]
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                yield Service(client, opened)

    return start


@pytest.fixture
async def service(start: Start, upstream: Upstream) -> AsyncIterator[Service]:
    """The service in front of `upstream`, with one connection to it and half a second for it."""
    async with start(upstream.url, total_timeout=0.5, limit_per_host=1) as service:
        yield service
