"""What becomes of requests, rows, gauges and connections when a database is in trouble."""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from combinations import EVERYTHING
from faults.load import (
    Load,
    Outcome,
    Request,
    call,
    clients,
    loaded,
    longest,
    quantile,
    statuses,
)
from faults.results import Result, keep, result
from faults.world import World, is_settled, wait_for, world
from running import group_lives
from test_services import Install, Installed, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.posix]

OUTAGE = float(os.environ.get("OUTAGE", "8"))  # seconds; `make faults-long` has more
# The service's defaults, in seconds.
DEADLINE = 5.0
GRACE = 10.0
# Seconds, beside what the machine itself adds: that is seen at a route that does nothing.
LATE = 0.1  # after the deadline, by when every answer is out
AT_ONCE = 0.05  # for 99 of 100 answers while an outage is known
BACK = 2.0  # seconds from the end of an outage to the first success

SIZE = 5
MAX_WAITING = 20
SETTINGS = {
    "PRIMARY__POOL_SIZE": str(SIZE),
    "PRIMARY__MAX_WAITING": str(MAX_WAITING),
    "ASYNCPG__MIN_SIZE": "0",
    "ASYNCPG__MAX_SIZE": str(SIZE),
    "ASYNCPG__MAX_WAITING": str(MAX_WAITING),
}

LIVE = Request("GET", "/health/live")
READS = [Request("GET", "/users/1"), Request("GET", "/items/1")]
WRITES = [
    Request("POST", "/users", lambda n: {"name": "load", "email": f"{n}@load"}),
    Request("POST", "/items/batch", lambda n: [{"name": f"load {n}", "value": n}]),
]
EACH_SECOND = 60

results: list[Result] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """All that was seen, kept and shown at the end."""
    yield
    keep("faults", results)


@pytest.fixture(scope="module")
def installed(install: Install) -> Installed:
    return install(**EVERYTHING)


@pytest.fixture(scope="module")
def running(installed: Installed) -> Iterator[World]:
    with world(installed, SETTINGS) as it:
        yield it


@pytest.fixture
def it(running: World) -> Iterator[World]:
    """The service, at peace before and after: nothing is left of the fault."""
    wait_for(lambda: is_settled(running), "peace before the fault")
    files, tasks = running.files(), running.tasks()
    yield running
    running.observer.rows("DELETE FROM users WHERE name = 'load'")
    running.observer.rows("DELETE FROM items WHERE name LIKE 'load %'")
    wait_for(lambda: is_settled(running), "peace after the fault")
    wait_for(lambda: running.files() <= files + 2 * SIZE, "closed sockets")
    wait_for(lambda: running.tasks() <= tasks, "the end of all tasks")


def by_kind(outcomes: list[Outcome]) -> dict[Request, list[Outcome]]:
    found: dict[Request, list[Outcome]] = {}
    for each in outcomes:
        found.setdefault(each.request, []).append(each)
    return found


def check_rows(it: World, outcomes: list[Outcome]) -> None:
    """Fail if a row of an acknowledged write is missing, or one is there that nobody asked for."""
    users = it.observer.rows("SELECT split_part(email, '@', 1)::int FROM users WHERE name = 'load'")
    items = it.observer.rows("SELECT value::int FROM items WHERE name LIKE 'load %'")
    for path, rows in (("/users", users), ("/items/batch", items)):
        stored = [row[0] for row in rows]
        writes = [each for each in outcomes if each.request.path == path]
        assert len(stored) == len(set(stored)), f"{path}: stored twice"
        assert {each.number for each in writes if each.is_ok} <= set(stored)
        assert set(stored) <= {each.number for each in writes}


def check_outage(fault: str, load: Load, begun: float, ended: float) -> None:
    """The promises of an outage: for each kind of request and for the service as a whole."""
    # When work that was begun has failed, and the first probe after it.
    known = begun + DEADLINE + 1
    kinds = by_kind(load.outcomes)
    live = result(fault, kinds.pop(LIVE), begun=begun, ended=ended, known=known)
    results.append(live)
    assert live.answers.keys() == {"200"}
    assert live.longest <= LATE
    assert live.known_p99 is not None
    for outcomes in kinds.values():
        figures = result(fault, outcomes, begun=begun, ended=ended, known=known)
        results.append(figures)
        assert figures.answers.keys() <= {"200", "201", "503", "504"}
        assert figures.longest <= DEADLINE + LATE + live.longest
        assert figures.known_p99 is not None
        assert figures.known_p99 <= AT_ONCE + live.known_p99
        assert figures.recovered is not None
        assert figures.recovered <= BACK
        assert figures.failed_after == 0
    # All connections and both queues, and those that are just answered.
    assert load.most_in_flight <= 2 * (SIZE + MAX_WAITING) + EACH_SECOND * AT_ONCE


@pytest.mark.parametrize("fault", ["black hole", "stopped server", "server down"])
def test_an_outage(it: World, fault: str) -> None:
    with loaded(it.service.port, [LIVE, *READS, *WRITES], EACH_SECOND) as load:
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        with {"black hole": it.black_hole, "stopped server": it.stopped, "server down": it.down}[
            fault
        ]():
            begun, attempts = time.monotonic(), it.proxy.accepted
            time.sleep(OUTAGE)  # what an outage is
            attempts = it.proxy.accepted - attempts
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * EACH_SECOND, "three seconds' load")
    check_outage(f"{fault}, {OUTAGE:g} s", load, begun, ended)
    check_rows(it, load.outcomes)
    if fault == "server down":  # found out at once: each of two pools asks once a second
        assert attempts <= 2 * (OUTAGE + 2)


def test_a_restart_costs_no_read(it: World) -> None:
    """As long as all that come meanwhile find a place in the queue."""
    each_second = (SIZE + MAX_WAITING) / 2
    with loaded(it.service.port, READS, each_second) as load:
        wait_for(lambda: len(load.outcomes) > each_second, "a second's load")
        begun = time.monotonic()
        it.pg_ctl("restart", "--mode", "immediate")
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * each_second, "three seconds' load")
    for outcomes in by_kind(load.outcomes).values():
        figures = result("restart", outcomes, begun=begun, ended=ended)
        results.append(figures)
        assert figures.answers.keys() == {"200"}, Counter(each.text for each in outcomes)
        assert figures.longest <= DEADLINE + LATE


def test_idle_connections_that_are_killed_cost_nothing(it: World) -> None:
    load = Load()
    for _ in range(10):
        asyncio.run(clients(it.service.port, READS, load, each=10, number=5))
        it.kill_connections()
    assert len(load.outcomes) == 1000
    for outcomes in by_kind(load.outcomes).values():
        figures = result("idle connections killed", outcomes)
        results.append(figures)
        assert figures.answers.keys() == {"200"}


def test_only_the_work_on_a_killed_connection_fails(it: World) -> None:
    load = Load()
    requests = [*READS, *WRITES]

    def work() -> None:
        asyncio.run(clients(it.service.port, requests, load, each=4, number=1))

    thread = threading.Thread(target=work)
    with it.locked("users", "items"):
        thread.start()
        wait_for(lambda: busy(it) == 2 * SIZE, "work that waits for the lock")
        assert it.kill_connections() == 2 * SIZE
    thread.join()
    for outcomes in by_kind(load.outcomes).values():
        results.append(result("killed at work", outcomes))
    failed = [each for each in load.outcomes if not each.is_ok]
    assert statuses(failed).keys() <= {503}
    assert all(each.request in WRITES for each in failed)
    assert len(failed) <= 2 * SIZE
    check_rows(it, load.outcomes)


def busy(it: World) -> int:
    return sum(used for _, used in it.connections().values())


def test_overload_is_refused_at_once_and_costs_no_throughput(it: World) -> None:
    """Five times as much as the pool can do."""
    slow = Request("POST", "/users", WRITES[0].body)
    with it.slow_writes(0.2):
        unloaded = Load()
        asyncio.run(clients(it.service.port, [slow], unloaded, each=SIZE, number=20, offset=10**6))
        begun = min(each.started for each in unloaded.outcomes)
        able = len(unloaded.outcomes) / (max(each.ended for each in unloaded.outcomes) - begun)
        with (
            loaded(it.service.port, [slow], 5 * able) as load,
            loaded(it.service.port, [LIVE], 20) as idle,
        ):
            # The queue is full after a second; what is done then is what is done for good.
            wait_for(lambda: it.waiting() == MAX_WAITING, "a full queue")
            begun = time.monotonic()
            time.sleep(OUTAGE)  # what is measured
            ended = time.monotonic()
        over = time.monotonic()
        wait_for(lambda: it.waiting() == 0, "an empty queue")
        assert time.monotonic() - over <= 1
    done = [each for each in load.outcomes if each.is_ok and begun <= each.ended < ended]
    refused = [each for each in load.outcomes if each.status == 503]
    results.append(result(f"overload, {OUTAGE:g} s", load.outcomes))
    assert statuses(load.outcomes).keys() <= {201, 503}
    assert longest(load.outcomes) <= DEADLINE + LATE
    full = [each for each in refused if "Too many" in each.text]
    assert quantile(full, 0.5) <= 0.01 + quantile(idle.outcomes, 0.5)
    assert quantile(full, 0.99) <= AT_ONCE + longest(idle.outcomes)
    assert len(done) / (ended - begun) >= 0.9 * able
    check_rows(it, [*load.outcomes, *unloaded.outcomes])


@pytest.mark.parametrize("fault", ["locked table", "black hole"])
def test_clients_that_hang_up_leave_nothing_behind(it: World, fault: str) -> None:
    with it.locked("users", "items") if fault == "locked table" else it.black_hole():
        asyncio.run(hang_up(it.service.port, 400))
        assert it.service.call("GET", "/health/live").status == 200
    wait_for(lambda: busy(it) == 0, "the end of all queries")


async def hang_up(port: int, times: int) -> None:
    async def one(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        path = READS[number % 2].path
        writer.write(f"GET {path} HTTP/1.1\r\nHost: service\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(random.uniform(0, DEADLINE / 4))  # at any moment of its work
        writer.transport.abort()

    await asyncio.gather(*map(one, range(times)))


def test_a_server_that_lets_no_more_in(it: World) -> None:
    """Those that are in stay, and serve; the others are told at once."""
    it.kill_connections()
    with it.slow_writes(0.2):
        before, load = Load(), Load()
        asyncio.run(clients(it.service.port, [WRITES[0]], before, each=2, number=1, offset=10**6))
        kept = it.connections()
        with it.at_most(sum(size for size, _ in kept.values())):
            asyncio.run(clients(it.service.port, [WRITES[0], LIVE], load, each=SIZE, number=5))
            assert it.connections() == kept
    live = longest(by_kind(load.outcomes)[LIVE])
    load.outcomes = [each for each in load.outcomes if each.request is not LIVE]
    results.append(result("no more connections", load.outcomes))
    refused = [each for each in load.outcomes if not each.is_ok]
    assert refused
    assert statuses(load.outcomes).keys() == {201, 503}
    assert quantile(refused, 0.99) <= AT_ONCE + live
    check_rows(it, [*before.outcomes, *load.outcomes])
    wait_for(lambda: asyncio.run(call(it.service.port, WRITES[0], 10**7)).is_ok, "a success", BACK)


def test_a_lock_ends_the_wait_before_the_deadline(it: World) -> None:
    load = Load()
    with it.locked("users", "items"):
        asyncio.run(clients(it.service.port, READS, load, each=SIZE, number=1))
    for outcomes in by_kind(load.outcomes).values():
        figures = result("locked table", outcomes)
        results.append(figures)
        assert figures.answers.keys() == {"503"}
        assert figures.longest <= 0.4 * DEADLINE + LATE + AT_ONCE


def test_transactions_that_meet_are_run_again(it: World) -> None:
    """Serializable counts, each of a row at random, by clients that never pause."""
    it.observer.rows(
        "INSERT INTO users (name, email) SELECT 'load', n || '@load' FROM generate_series(1, 30) n"
    )
    ids = [row[0] for row in it.observer.rows("SELECT id FROM users WHERE name = 'load'")]
    before = it.errors("Conflict")
    outcomes: list[Outcome] = []

    async def count(choose: random.Random) -> None:
        for number in range(250):
            visit = Request("POST", f"/users/{choose.choice(ids)}/visits")
            outcomes.append(await call(it.service.port, visit, number))

    async def storm() -> None:
        await asyncio.gather(*(count(random.Random(seed)) for seed in range(4)))

    asyncio.run(storm())
    counted = it.observer.value("SELECT sum(visits)::int FROM users WHERE name = 'load'")
    succeeded = sum(each.is_ok for each in outcomes)
    conflicts = it.errors("Conflict") - before
    print(f"{conflicts} conflicts in {len(outcomes)} transactions")
    assert conflicts >= 10
    assert counted == succeeded
    assert succeeded >= 0.999 * len(outcomes)


@pytest.mark.parametrize("fault", ["", "black hole"])
def test_the_end(installed: Installed, fault: str) -> None:
    """Whatever was accepted is answered; nothing is left; in time, and with status 0."""
    with world(installed, SETTINGS) as it:
        process = it.service.process
        with loaded(it.service.port, [*READS, *WRITES], EACH_SECOND) as load:
            wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
            if fault:
                it.proxy.swallow()
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: process.poll() is not None, "the end", GRACE)
            took = time.monotonic() - asked
        it.proxy.pass_on()
        assert process.returncode == 0
        assert took <= GRACE
        assert not group_lives(process.pid)
        # Those that came to a closed door have status 0, and no answer was begun.
        accepted = [each for each in load.outcomes if "ConnectionRefused" not in each.text]
        results.append(result(f"SIGTERM {fault}".strip(), accepted, begun=asked))
        if not fault:
            assert statuses(accepted).keys() <= {200, 201}
        assert longest(accepted) <= DEADLINE + LATE
        wait_for(lambda: not it.connections(), "the end of all connections")
        check_rows(it, load.outcomes)
