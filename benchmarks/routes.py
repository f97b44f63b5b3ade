"""The service's routes beside the same of others, as processes, in turns, under a closed loop."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from tests.database.proxy import Proxy

from services import HERE, App, in_turns, surroundings, variant
from side_by_side import Loaded, keep, show

TEXTBOOK = App("textbook", "textbook.app:app", HERE)
# With this pool and monitoring.
SQLALCHEMY = App("the service", directory=variant("sqlalchemy"))
ASYNCPG = App("the service", directory=variant("asyncpg"))
# With every feature, and without some.
EVERYTHING = App("the service, everything on")
UNMONITORED = App("the service, no monitoring", directory=variant("unmonitored"))
STRIPPED = App("the service, stripped", "others.stripped:app", variant("unmonitored"))
SILENT = App("stripped, no access log", "others.stripped:silent", variant("unmonitored"))
GRANIAN = replace(ASYNCPG, name="the service, on Granian", server="granian")
FAN_OUT = App("the service", "others.fan_out:app")
MIXED = App("the service")
DEFAULT_ASYNC = App("template, async", "others.default_async:app", HERE)
DEFAULT_SYNC = App("template, threads", "others.default_sync:app", HERE)
BARE = App("driver alone", "others.floor:bare", HERE)
FRAMEWORK = App("framework alone", "others.floor:framework", HERE)

USER, ITEM, FAN = "/users/1", "/items/1", "/fan-out"
PACKAGES = (
    "aiohttp",
    "asyncpg",
    "fastapi",
    "granian",
    "psycopg",
    "sqlalchemy",
    "starlette",
    "uvicorn",
)
DELAY = 0.001  # seconds, each way
CLIENTS = 32
SECONDS = 2


@dataclass(frozen=True)
class Case:
    title: str
    workload: str
    apps: Sequence[App]
    """The others are compared to the first."""
    clients: int = CLIENTS
    path: str = USER
    """Where an app answers once it is there."""
    rounds: int = 5
    is_far: bool = False
    """Whether the database is a millisecond away."""


READS = [("a user", USER, SQLALCHEMY), ("an item", ITEM, ASYNCPG)]


def patient(app: App) -> App:
    """With a queue for all: by default it turns away whoever finds a hundred before him."""
    settings = {"PRIMARY__MAX_WAITING": "1000", "ASYNCPG__MAX_WAITING": "1000"}
    return replace(app, variables=settings)


CASES = [
    Case(
        "read a user",
        USER,
        [TEXTBOOK, SQLALCHEMY, EVERYTHING, DEFAULT_ASYNC, DEFAULT_SYNC, FRAMEWORK],
    ),
    Case("read an item", ITEM, [TEXTBOOK, ASYNCPG, EVERYTHING, BARE], path=ITEM),
    Case(
        "create a user",
        "create a user",
        [TEXTBOOK, SQLALCHEMY, EVERYTHING, DEFAULT_ASYNC, DEFAULT_SYNC],
    ),
    *(
        Case("store 1000 items", "batch", [TEXTBOOK, ASYNCPG], clients, path=ITEM)
        for clients in (1, 4)
    ),
    Case("three upstream calls", FAN, [TEXTBOOK, FAN_OUT], path=FAN),
    Case("mixed", "mixed", [TEXTBOOK, MIXED]),
    Case("read an item", ITEM, [ASYNCPG, GRANIAN], path=ITEM),
    *(
        Case(f"read {what}", path, [TEXTBOOK, patient(app)], clients, path)
        for clients in (1, 256)
        for what, path, app in READS
    ),
    *(
        Case(f"read {what}, 1 ms away", path, [TEXTBOOK, app], clients, path, is_far=True)
        for clients in (1, CLIENTS)
        for what, path, app in READS
    ),
    *(
        # They are so close that it takes many rounds to tell them apart.
        Case(f"read {what}", path, [app, EVERYTHING], path=path, rounds=rounds)
        for app, rounds in ((STRIPPED, 9), (SILENT, 21), (UNMONITORED, 21))
        for what, path, _ in READS
    ),
    Case("mixed", "mixed", [SILENT, EVERYTHING], rounds=21),
]


@contextmanager
def delayed(url: str) -> Iterator[str]:
    """The URL of a proxy before the server, which delays each message."""
    started, is_over = threading.Event(), threading.Event()
    proxy = Proxy(url)
    proxy.delay = DELAY

    async def run() -> None:
        async with proxy.run():
            started.set()
            await asyncio.to_thread(is_over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait()
    try:
        yield proxy.url
    finally:
        is_over.set()
        thread.join()


def measured(case: Case, variables: Mapping[str, str]) -> Loaded:
    samples = in_turns(
        case.apps,
        variables,
        case.workload,
        case.path,
        clients=case.clients,
        rounds=case.rounds,
        seconds=SECONDS,
    )
    clients = "1 client" if case.clients == 1 else f"{case.clients} clients"
    return Loaded(f"{case.title}, {clients}", samples)


def main() -> None:
    with surroundings() as near, delayed(near["DATABASE_URL"]) as url:
        far = {**near, "DATABASE_URL": url}
        parts = []
        for case in CASES:
            parts.append(measured(case, far if case.is_far else near))
            show(parts[-1])
    keep("routes", {name: version(name) for name in PACKAGES}, parts)


if __name__ == "__main__":
    main()
