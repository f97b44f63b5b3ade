"""The application: `app.main:app`, or `create_app` with settings of your own.

A package beside this file with a module `routes` is served, or with `operations`, which is for
those who run the service; one with `requests` sees each request, and one with `background` runs as
long as the service does.
"""

import gc

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app import __title__, __version__, body_limit, deadline, errors, health, internal, logs
from app.lifespan import lifespan
from app.parts import add_routes, modules
from app.retry import Retry
from app.settings import Settings, load


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service, connected to nothing before it starts.

    Raises SystemExit, in one sentence each, when the environment's settings do not fit.
    """
    settings = settings or load()
    logs.configure(settings.log_level)
    app = FastAPI(
        title=__title__,
        version=__version__,
        lifespan=lifespan,
        responses=errors.RESPONSES,
        # Traces are FastAPI's; what it would ask of each request to log and to measure is done.
        telemetry={"logs": False, "metrics": False},
    )
    app.state.settings = settings
    app.state.leftovers = deadline.Leftovers()
    # The deadline would cut a wait that goes beyond it.
    app.state.retry = Retry(settings.retry, budget=0.8 * settings.request_deadline)
    app.state.checks = health.Checks(app)
    app.state.observers = []
    errors.install(app)
    # A request tries one route after another: the busiest come first.
    for module in (*modules("routes"), *modules("operations"), health):
        add_routes(app, module.router)
    if settings.internal_address:
        routes = [route for module in modules("operations") for route in module.router.routes]
        paths = [context.path for context in iter_route_contexts(routes)]
        paths += [app.docs_url, app.redoc_url, app.openapi_url]
        inside = [path for path in paths if path]
        app.add_middleware(internal.Doors, address=settings.internal_address, inside=inside)
    app.add_middleware(body_limit.BodyLimit, limit=settings.max_body_size)
    app.add_middleware(
        deadline.Deadline, seconds=settings.request_deadline, leftovers=app.state.leftovers
    )
    for module in modules("requests"):
        module.install(app)
    app.add_middleware(logs.RequestLog, observers=app.state.observers)
    return app


def spare_collector() -> None:
    """Have the garbage collector look at what requests leave, not at what stays, and less often.

    By default it took a third of the time of a read.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


app: FastAPI


def __getattr__(name: str) -> FastAPI:
    """Make `app` when a server asks for it, so that an import needs no settings."""
    if name == "app":
        global app
        app = create_app()
        spare_collector()
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
