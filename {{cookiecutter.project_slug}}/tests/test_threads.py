"""Nothing that a request needs runs in a thread, which would cost as much as a read."""

from inspect import isasyncgenfunction, iscoroutinefunction

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app import health
from app.parts import modules


def calls(dependant: Dependant) -> list[object]:
    found = [call for each in dependant.dependencies for call in calls(each)]
    return [dependant.call, *found]


def test_routes_and_dependencies_are_coroutines() -> None:
    routes = [
        route
        for module in (health, *modules("routes"), *modules("operations"))
        for route in module.router.routes
    ]
    assert len(routes) >= 2
    for route in routes:
        assert isinstance(route, APIRoute)
        for call in calls(route.dependant):
            assert iscoroutinefunction(call) or isasyncgenfunction(call), call
