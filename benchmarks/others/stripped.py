"""The generated service without what an answer does not need, to see what that costs.

No deadline, no request ids and logs, no limit of bodies; no bounds and no figures of the pools.
"""

from app.main import create_app
from app.pools import asyncpg, sqlalchemy
from app.pools.base import Durations, Slots
from app.pools.holds import Holds


def nothing(*_: object) -> None:
    pass


def always(*_: object) -> bool:
    return True


Durations.observe = nothing  # type: ignore[method-assign]
Slots.take = always  # type: ignore[method-assign]
Slots.give_back = nothing  # type: ignore[method-assign]
Holds.begin = Holds.end = nothing  # type: ignore[method-assign]
asyncpg.note_taker = sqlalchemy.note_taker = nothing  # type: ignore[attr-defined]

app = create_app()
app.user_middleware.clear()
