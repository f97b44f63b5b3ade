"""The generated service without what an answer does not need, to see what that costs.

No deadline, no request ids, no limit of bodies; no bounds and no figures of the pools. `app` logs
requests as uvicorn does when nobody tells it otherwise, `silent` does not log them at all.
"""

from logging.config import dictConfig

from app.main import create_app, spare_collector
from app.pools import asyncpg, sqlalchemy
from app.pools.base import Durations, Slots
from app.pools.holds import Holds
from uvicorn.config import LOGGING_CONFIG


def nothing(*_: object) -> None:
    pass


def always(*_: object) -> bool:
    return True


Durations.observe = nothing
Slots.take = always
Slots.give_back = nothing
Holds.begin = Holds.end = nothing
asyncpg.note_taker = sqlalchemy.note_taker = nothing


def __getattr__(name: str) -> object:
    app = create_app()
    app.user_middleware.clear()
    if name == "app":
        dictConfig(LOGGING_CONFIG)
    spare_collector()
    return app
