"""What is for those who run the service is behind a door of its own, if there is one."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from app import main
from app.parts import modules
from app.settings import Settings, load

PUBLIC = ["/health/live", "/health/ready"]
INSIDE = [
    "/docs",
    "/redoc",
    "/openapi.json",
    *(route.path for module in modules("operations") for route in module.router.routes),
]


@pytest.fixture
def settings() -> Settings:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Settings(internal_address=f"127.0.0.1:{port}")


async def test_each_door_has_its_own(client: httpx.AsyncClient, settings: Settings) -> None:
    async with httpx.AsyncClient(base_url=f"http://{settings.internal_address}") as inside:
        for path in PUBLIC:
            assert (await client.get(path)).status_code == 200
            assert (await inside.get(path)).status_code == 404
        for path in INSIDE:
            assert (await client.get(path)).status_code == 404
        described = (await inside.get("/openapi.json")).json()["paths"]
        for path in {"/docs", "/redoc"} | (set(INSIDE) & set(described)):
            assert (await inside.get(path)).status_code == 200


async def test_operations_of_all_kinds_are_inside(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = APIRouter(prefix="/reports")

    @reports.get("/{day}")
    async def report(day: str) -> str:
        return day

    outer = APIRouter(prefix="/operations")
    outer.include_router(reports)

    def found(name: str) -> Iterator[Any]:
        yield from modules(name)
        if name == "operations":
            yield SimpleNamespace(router=outer)

    monkeypatch.setattr(main, "modules", found)
    transport = httpx.ASGITransport(main.create_app(settings))
    statuses = []
    for door in ("0.0.0.0:80", settings.internal_address):
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{door}") as client:
            for path in ("/operations/reports/monday", "/docs", "/docs/oauth2-redirect", "/docsx"):
                statuses.append((await client.get(path)).status_code)
    assert statuses == [404, 404, 404, 404, 200, 200, 200, 404]


@pytest.mark.parametrize("address", ["9000", "localhost:9000", "0.0.0.0", "0.0.0.0:0", "[::]:x"])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_ADDRESS", address)
    with pytest.raises(SystemExit) as refused:
        load()
    assert refused.value.code == (
        "INTERNAL_ADDRESS is no address: write IP:PORT, such as 0.0.0.0:9000."
    )
