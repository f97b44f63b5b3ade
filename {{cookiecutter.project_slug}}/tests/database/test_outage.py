"""With the database down the service starts, is live, is not ready, and heals by itself."""

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr

from app.main import create_app
from app.pools.postgres import DatabaseSettings
from app.settings import Settings
from tests.database.fixtures import hasty, proxy
from tests.database.proxy import Proxy
from tests.waiting import until

__all__ = ["hasty", "proxy"]


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    """All databases behind the proxy, which is away."""
    settings = Settings()
    for _, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings):
            pool.url = SecretStr(proxy.url)
    proxy.go_away()
    return settings


@pytest.mark.usefixtures("hasty")
async def test_start_without_a_database(settings: Settings, proxy: Proxy) -> None:
    app = create_app(settings)
    required = [pool for _, pool in settings.pool_settings() if pool.required]
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/health/live")).status_code == 200
            ready = await client.get("/health/ready")
            assert ready.status_code == 503
            states = [ready.json()["pools"][name] for name, _ in settings.pool_settings()]
            assert states.count("down") >= len(required)
            assert "127.0.0.1" not in ready.text

            await proxy.come_back()

            async def is_ready() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            await until(is_ready)
