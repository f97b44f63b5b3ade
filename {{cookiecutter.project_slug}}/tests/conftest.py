"""The service with its real lifespan, on real servers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

import dev
from app.main import create_app, spare_collector
from app.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def variables() -> Iterator[dict[str, str]]:
    """The environment that the servers around the service give it, and no `.env`."""
    spare_collector()
    with dev.environment(fresh=True) as variables, pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


@pytest.fixture
def settings() -> Settings:
    """The default settings; a test that needs others has a fixture of this name."""
    return Settings()


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start the service; a client of it."""
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        # A check at the start that took too long may still have a connection.
        await app.state.leftovers.settle(5)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running service."""
    async with running(app) as client:
        yield client
