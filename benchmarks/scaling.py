"""What more connections and more workers give, and what a connection costs."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median

import asyncpg

from routes import ASYNCPG, CLIENTS, ITEM, SQLALCHEMY, USER, delayed
from services import App, in_turns, running, surroundings
from side_by_side import Loaded, Part, Rows, keep, show

SIZES = (1, 2, 5, 10, 20, 50)
ROUNDS = 5
SECONDS = 3
IDLE = 40  # connections, to see what each costs

BUSY = "SELECT count(*) FROM generate_series(1, 100000) AS n, pg_sleep(0.2)"


def with_connections(size: int) -> App:
    return replace(
        SQLALCHEMY,
        name=f"{size} connections",
        variables={"PRIMARY__POOL_SIZE": str(size), "PRIMARY__MAX_WAITING": "1000"},
    )


def with_workers(number: int) -> App:
    # All on both CPUs, with the load beside them.
    return replace(SQLALCHEMY, name=f"{number} workers", workers=number, cpus="0,1")


def loaded(title: str, apps: list[App], clients: int, variables: Mapping[str, str]) -> Loaded:
    samples = in_turns(apps, variables, USER, USER, clients=clients, rounds=ROUNDS, seconds=SECONDS)
    return Loaded(f"{title}, {clients} clients", samples)


def own_memory(pid: int) -> int:
    """Bytes of a process's own: not the server's shared buffers, and its part of what it forked."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss_Anon:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found, rollup
    return 1024 * int(found[1])


def memory_of_service(connections: int, variables: Mapping[str, str]) -> int:
    """Bytes of a service that keeps so many open, at rest."""
    settings = {
        "ASYNCPG__MIN_SIZE": str(connections),
        "ASYNCPG__MAX_SIZE": str(max(connections, 1)),
    }
    app = replace(ASYNCPG, variables=settings)
    with running(app, variables, ITEM) as process:
        return own_memory(process.pid)


async def memory_of_server(url: str) -> tuple[int, int]:
    """Bytes of one of the server's processes, once it has read a row, and at work."""
    connection = await asyncpg.connect(url)
    observer = await asyncpg.connect(url)
    try:
        await connection.fetch("SELECT * FROM items WHERE id = $1", 1)
        pid = connection.get_server_pid()
        idle = own_memory(pid)
        task = asyncio.create_task(connection.fetch(BUSY))
        state = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
        while await observer.fetchval(state, pid) != "PgSleep":
            pass
        busy = own_memory(pid)
        await task
        return idle, busy
    finally:
        connection.terminate()
        observer.terminate()


def memory(variables: Mapping[str, str]) -> Rows:
    services = [
        (memory_of_service(IDLE, variables) - memory_of_service(0, variables)) / IDLE
        for _ in range(ROUNDS)
    ]
    servers = [asyncio.run(memory_of_server(variables["DATABASE_URL"])) for _ in range(ROUNDS)]
    idle, busy = zip(*servers, strict=True)
    return Rows(
        "memory of a connection",
        ["KB, median", "range"],
        {
            name: [
                f"{median(sizes) / 1e3:.0f}",
                f"{min(sizes) / 1e3:.0f} to {max(sizes) / 1e3:.0f}",
            ]
            for name, sizes in (
                ("in the service", services),
                ("in the server, idle", idle),
                ("in the server, at work", busy),
            )
        },
    )


def main() -> None:
    with surroundings() as near, delayed(near["DATABASE_URL"]) as url:
        sizes = [with_connections(size) for size in SIZES]
        parts: list[Part] = [
            loaded("read a user", sizes, 2 * CLIENTS, near),
            loaded("read a user, 1 ms away", sizes, 2 * CLIENTS, {**near, "DATABASE_URL": url}),
            loaded("read a user", [with_workers(1), with_workers(2)], 2 * CLIENTS, near),
            memory(near),
        ]
    for part in parts:
        show(part)
    keep("scaling", {name: version(name) for name in ("asyncpg", "sqlalchemy")}, parts)


if __name__ == "__main__":
    main()
