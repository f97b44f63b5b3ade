"""The application: `app.main:app`, or `create_app` with settings of your own.

A package beside this file with a module `routes` is served, one with `middleware` installed, one
with `background` runs as long as the service does.
"""

from fastapi import FastAPI

from app import __title__, __version__, body_limit, deadline, errors, health, logs
from app.lifespan import lifespan
from app.parts import modules
from app.settings import Settings, load


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service, connected to nothing before it starts.

    Raises SystemExit, in one sentence each, when the environment's settings do not fit.
    """
    settings = settings or load()
    logs.configure(settings.log_level)
    app = FastAPI(
        title=__title__, version=__version__, lifespan=lifespan, responses=errors.RESPONSES
    )
    app.state.settings = settings
    app.state.leftovers = deadline.Leftovers()
    app.state.checks = health.Checks(app)
    errors.install(app)
    app.include_router(health.router)
    for module in modules("routes"):
        app.include_router(module.router)
    app.add_middleware(body_limit.BodyLimit, limit=settings.max_body_size)
    app.add_middleware(
        deadline.Deadline, seconds=settings.request_deadline, leftovers=app.state.leftovers
    )
    for module in modules("middleware"):
        module.install(app)
    app.add_middleware(logs.RequestLog)
    return app


app: FastAPI


def __getattr__(name: str) -> FastAPI:
    """Make `app` when a server asks for it, so that an import needs no settings."""
    if name == "app":
        global app
        app = create_app()
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
