"""The generated service without what an answer does not need, to see what that costs.

No deadline, no request ids and logs, no limit of bodies; no bounds and no figures of the pools.
"""

from app.main import create_app, spare_collector
from app.pools import asyncpg, sqlalchemy
from app.pools.base import Durations, Slots
from app.pools.holds import Holds


def nothing(*_: object) -> None:
    pass


def always(*_: object) -> bool:
    return True


Durations.observe = nothing
Slots.take = always
Slots.give_back = nothing
Holds.begin = Holds.end = nothing
asyncpg.note_taker = sqlalchemy.note_taker = nothing

app = create_app()
app.user_middleware.clear()
spare_collector()
