"""Routers of packages, whatever is in them."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.routing import APIRoute

from app.parts import add_routes


async def who() -> str:
    return "anyone"


Who = Annotated[str, Depends(who)]
router = APIRouter(prefix="/greetings", tags=["greetings"])


@router.get("/{language}", status_code=203)
async def greet(language: str, who: Who) -> dict[str, str]:
    return {language: who}


@pytest.fixture
def app() -> FastAPI:
    return FastAPI(responses={418: {"description": "A teapot"}})


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get(path)


async def test_routes_are_the_applications_own(app: FastAPI) -> None:
    add_routes(app, router)
    route = app.routes[-1]
    assert isinstance(route, APIRoute)
    assert (route.path, route.tags, route.status_code) == (
        "/greetings/{language}",
        ["greetings"],
        203,
    )
    assert "418" in app.openapi()["paths"]["/greetings/{language}"]["get"]["responses"]
    answer = await get(app, "/greetings/en")
    assert (answer.status_code, answer.json()) == (203, {"en": "anyone"})


async def test_a_dependency_can_be_overridden(app: FastAPI) -> None:
    add_routes(app, router)
    app.dependency_overrides[who] = lambda: "you"
    assert (await get(app, "/greetings/en")).json() == {"en": "you"}


async def test_routers_in_routers_and_websockets_are_included(app: FastAPI) -> None:
    outer = APIRouter(prefix="/outer")
    outer.include_router(router)

    @outer.websocket("/live")
    async def live(socket: WebSocket) -> None:
        """Nobody calls."""

    add_routes(app, outer)
    assert (await get(app, "/outer/greetings/en")).json() == {"en": "anyone"}
    assert app.url_path_for("live") == "/outer/live"
