"""More work than the pools can do: how much still gets done, and how long it takes.

An open loop: requests come at their pace, whatever becomes of those before them. Each takes the
database a fifth of a second, so that the pools are what limits them, and no CPU.
"""

import asyncio
import time
from contextlib import ExitStack
from importlib.metadata import version

from dev.servers.postgres import execute

from faults.load import Request, loaded, quantile
from routes import SQLALCHEMY, TEXTBOOK, USER
from services import Process, running, surroundings
from side_by_side import Curve, Point, keep, show

WORK = 0.2  # seconds
# Connections that each may have at most, all defaults.
CONNECTIONS = {SQLALCHEMY.name: 20, TEXTBOOK.name: 30}
FACTORS = (0.2, 0.5, 0.8, 1, 1.5, 2, 3, 5)
ROUNDS = 5
SECONDS = 8
USEFUL = 5  # seconds after which nobody waits for an answer any longer

SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN PERFORM pg_sleep({WORK}); RETURN NEW; END $$",
    "CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow()",
)


def measured(process: Process, each_second: float) -> Point:
    prefix = time.time_ns()
    create = Request("POST", "/users", lambda n: {"name": "x", "email": f"{prefix}-{n}@x"})
    with loaded(process.port, [create], each_second) as load:
        time.sleep(SECONDS)  # what a load is
    # Those that were under way have ended.
    useful = [each for each in load.outcomes if each.is_ok and each.seconds <= USEFUL]
    return Point(
        offered=len(load.outcomes) / SECONDS,
        goodput=len(useful) / SECONDS,
        p99=quantile(load.outcomes, 0.99),
    )


def main() -> None:
    with surroundings() as variables, ExitStack() as stack:
        apps = (TEXTBOOK, SQLALCHEMY)
        processes = {app.name: stack.enter_context(running(app, variables, USER)) for app in apps}
        asyncio.run(execute(variables["DATABASE_URL"], *SLOW))
        curve = Curve("overload", {name: {} for name in processes})
        for _ in range(ROUNDS):
            for factor in FACTORS:
                for name, process in processes.items():
                    point = measured(process, factor * CONNECTIONS[name] / WORK)
                    curve.points[name].setdefault(f"{factor:g}", []).append(point)
    show(curve)
    keep("overload", {name: version(name) for name in ("fastapi", "sqlalchemy")}, [curve])


if __name__ == "__main__":
    main()
