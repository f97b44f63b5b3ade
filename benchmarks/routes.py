"""The service's routes beside the same of others, as processes, in turns, under a closed loop."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from tests.database.proxy import Proxy

from services import HERE, UNMONITORED, App, in_turns, surroundings
from side_by_side import Loaded, keep, show

TEXTBOOK = App("textbook", "textbook.app:app", HERE)
SERVICE = App("the service")
UNMEASURED = App("service without monitoring", directory=UNMONITORED)
STRIPPED = App("stripped service", "others.stripped:app", UNMONITORED)
FAN_OUT = App("the service", "others.fan_out:app")
DEFAULT_ASYNC = App("template, async", "others.default_async:app", HERE)
DEFAULT_SYNC = App("template, threads", "others.default_sync:app", HERE)
BARE = App("driver alone", "others.floor:bare", HERE)
FRAMEWORK = App("framework alone", "others.floor:framework", HERE)

USER, ITEM, FAN = "/users/1", "/items/1", "/fan-out"
PACKAGES = ("aiohttp", "asyncpg", "fastapi", "psycopg", "sqlalchemy", "starlette", "uvicorn")
DELAY = 0.001  # seconds, each way
CLIENTS = 32
SECONDS = 3


@dataclass(frozen=True)
class Case:
    title: str
    workload: str
    apps: Sequence[App]
    """The others are compared to the first."""
    clients: int = CLIENTS
    path: str = USER
    """Where an app answers once it is there."""
    rounds: int = 7
    is_far: bool = False
    """Whether the database is a millisecond away."""


CASES = [
    Case("read a user", USER, [TEXTBOOK, SERVICE, DEFAULT_ASYNC, DEFAULT_SYNC, FRAMEWORK]),
    Case("read an item", ITEM, [TEXTBOOK, SERVICE, BARE], path=ITEM),
    Case("create a user", "create a user", [TEXTBOOK, SERVICE, DEFAULT_ASYNC, DEFAULT_SYNC]),
    Case("store 1000 items", "batch", [TEXTBOOK, SERVICE], clients=4, path=ITEM),
    Case("three upstream calls", FAN, [TEXTBOOK, FAN_OUT], path=FAN),
    Case("mixed", "mixed", [TEXTBOOK, SERVICE]),
    *(
        Case(f"read {what}", path, [TEXTBOOK, SERVICE], clients, path, rounds=5)
        for clients in (1, 256)
        for what, path in (("a user", USER), ("an item", ITEM))
    ),
    *(
        Case(f"read {what}, 1 ms away", path, [TEXTBOOK, SERVICE], clients, path, 5, is_far=True)
        for clients in (1, CLIENTS)
        for what, path in (("a user", USER), ("an item", ITEM))
    ),
    *(
        Case(f"read {what}", path, [app, SERVICE], path=path, rounds=11)
        for app in (STRIPPED, UNMEASURED)
        for what, path in (("a user", USER), ("an item", ITEM))
    ),
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
    return Loaded(f"{case.title}, {case.clients} clients", samples)


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
