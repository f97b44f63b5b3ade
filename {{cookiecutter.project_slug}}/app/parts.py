"""What the packages beside this file bring: routes, a part in each request, background work."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute


def modules(name: str) -> Iterator[ModuleType]:
    """Those of this name in the packages beside this file, in alphabetical order."""
    for path in sorted(Path(__file__).parent.glob(f"*/{name}.py")):
        yield import_module(f"app.{path.parent.name}.{name}")


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Make a router's routes the application's own.

    `app.include_router` looks for the route in the router twice, in each request, and in all that
    come before it; it is for what is no plain route, such as WebSockets and routers in routers.
    """
    if not all(isinstance(route, APIRoute) for route in router.routes):
        app.include_router(router)
        return
    said = inspect.signature(app.router.add_api_route).parameters
    for route in router.routes:
        app.router.add_api_route(
            **{name: getattr(route, name) for name in said if hasattr(route, name)}
        )
