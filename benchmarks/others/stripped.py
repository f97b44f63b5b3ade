"""The generated service without what an answer does not need, to see what that costs.

No deadline, no request ids, no limit of bodies; pools without figures, whose queue has no bounds.
`app` logs requests as uvicorn does when nobody tells it otherwise, `silent` does not log them.
"""

import asyncio
from logging.config import dictConfig
from math import inf

from app.body_limit import BodyLimit
from app.deadline import Deadline
from app.logs import RequestLog
from app.main import create_app, spare_collector
from app.pools import asyncpg, sqlalchemy
from app.pools.base import Durations, Slots, Waiter
from app.pools.holds import Holds
from uvicorn.config import LOGGING_CONFIG

NEEDLESS = {RequestLog, Deadline, BodyLimit}


def nothing(*_: object) -> None:
    pass


async def wait(slots: Slots) -> None:
    """As long as it takes: a pool without a queue would leave some of its clients out for ever."""
    waiter = Waiter(asyncio.get_running_loop().create_future(), until=inf)
    slots._waiters.append(waiter)
    await waiter.served


Durations.observe = nothing
Slots.wait = wait
Holds.begin = Holds.end = nothing
asyncpg.note_taker = sqlalchemy.note_taker = nothing


def __getattr__(name: str) -> object:
    app = create_app()
    app.user_middleware = [it for it in app.user_middleware if it.cls not in NEEDLESS]
    if name == "app":
        dictConfig(LOGGING_CONFIG)
    spare_collector()
    return app
