"""Pools open in order, close in reverse, and a failed start is undone."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from app.deadline import Leftovers
from app.lifespan import lifespan
from app.pools.base import Pool
from tests.test_health import SilentPool


class StubSettings:
    """Settings whose pools write down what happens to them."""

    shutdown_grace = 1.0
    internal_address = None

    def __init__(self, *names: str) -> None:
        self.names = names
        self.events: list[str] = []

    def pools(self, _: object) -> list[AbstractAsyncContextManager[Pool]]:
        return [self.open(name) for name in self.names]

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Pool]:
        if name == "broken":
            raise RuntimeError("cannot open")
        self.events.append(f"open {name}")
        try:
            yield SilentPool(name, required=True)
        finally:
            self.events.append(f"close {name}")


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the pools, which is what this is about."""
    monkeypatch.setattr("app.lifespan.modules", lambda _: iter(()))


def service(settings: StubSettings) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.state.settings = settings
    app.state.leftovers = Leftovers()
    return app


async def test_pools_are_closed_in_reverse() -> None:
    settings = StubSettings("first", "second")
    async with LifespanManager(service(settings)) as manager:
        state: dict[str, Any] = manager._state
        assert list(state) == ["first", "second"]
    assert settings.events == ["open first", "open second", "close second", "close first"]


async def test_pools_opened_before_a_failure_are_closed() -> None:
    settings = StubSettings("first", "broken", "never")
    with pytest.raises(RuntimeError, match="cannot open"):
        async with LifespanManager(service(settings)):
            raise AssertionError("the service has started")
    assert settings.events == ["open first", "close first"]
