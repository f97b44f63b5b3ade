"""What becomes of requests, rows, gauges and connections when a database is in trouble."""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from faults.load import (
    Load,
    Outcome,
    Request,
    call,
    clients,
    loaded,
    longest,
    most_kept,
    quantile,
    statuses,
)
from faults.results import Record
from faults.world import Observer, World, is_settled, world
from monitor import Prometheus, fired, firing, prometheus, values
from running import group_lives, wait_for
from test_services import Installed

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.posix]

# Seconds that nothing comes through, and that other troubles last; `make faults-long` has more.
OUTAGE = float(os.environ.get("OUTAGE", "8"))
STOPPAGE = min(OUTAGE, 30)
OVERLOAD = min(OUTAGE, 10)
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
READY = Request("GET", "/health/ready")
READS = [Request("GET", "/users/1"), Request("GET", "/items/1")]
WRITES = [
    Request("POST", "/users", lambda n: {"name": "load", "email": f"{n}@load"}),
    Request("POST", "/items/batch", lambda n: [{"name": f"load {n}", "value": n}]),
]
EACH_SECOND = 60


@pytest.fixture(scope="module")
def running(installed: Installed) -> Iterator[World]:
    with world(installed, SETTINGS) as it:
        yield it


@pytest.fixture(scope="module")
def monitor(running: World) -> Iterator[Prometheus]:
    """A Prometheus that watches the service, for which a minute is a second."""
    with prometheus(running.installed.project, {"service": running.service.port}) as monitor:
        yield monitor


class Watch:
    """Whether the alerts that a fault is to have did fire."""

    def __init__(self, monitor: Prometheus, record: Record) -> None:
        self._monitor = monitor
        self._record = record

    @contextmanager
    def expects(self, fault: str, *alerts: tuple[str, str]) -> Iterator[None]:
        """Fail unless these fire in the context, or soon after it, and did not before."""
        wait_for(lambda: not firing(self._monitor) & set(alerts), "the end of earlier alerts")
        begun = time.time()
        yield
        wait_for(lambda: fired(self._monitor, begun) >= set(alerts), f"alerts of {fault}", 10)
        self._record.add_alerts(fault, alerts)


@pytest.fixture
def watch(monitor: Prometheus, record: Record) -> Watch:
    return Watch(monitor, record)


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


def check_rows(it: World, outcomes: list[Outcome], observer: Observer | None = None) -> None:
    """Fail if a row of an acknowledged write is missing, or one is there that nobody asked for."""
    observer = observer or it.observer
    users = observer.rows("SELECT split_part(email, '@', 1)::int FROM users WHERE name = 'load'")
    items = observer.rows("SELECT value::int FROM items WHERE name LIKE 'load %'")
    for path, rows in (("/users", users), ("/items/batch", items)):
        stored = [row[0] for row in rows]
        writes = [each for each in outcomes if each.request.path == path]
        assert len(stored) == len(set(stored)), f"{path}: stored twice"
        assert {each.number for each in writes if each.is_ok} <= set(stored)
        assert set(stored) <= {each.number for each in writes}


def check_outage(record: Record, fault: str, load: Load, begun: float, ended: float) -> None:
    """The promises of an outage: for each kind of request and for the service as a whole."""
    # When work that was begun has failed, and the first probe after it.
    known = begun + DEADLINE + 1
    kinds = by_kind(load.outcomes)
    live = record.add(fault, kinds.pop(LIVE), begun=begun, ended=ended, known=known)
    assert live.answers.keys() == {"200"}
    assert live.longest <= LATE
    assert live.known_p99 is not None
    for outcomes in kinds.values():
        figures = record.add(fault, outcomes, begun=begun, ended=ended, known=known)
        assert figures.answers.keys() <= {"200", "201", "503", "504"}
        assert figures.longest <= DEADLINE + LATE + live.longest
        assert figures.known_p99 is not None
        assert figures.known_p99 <= AT_ONCE + live.known_p99
        assert figures.recovered is not None
        assert figures.recovered <= BACK
        assert figures.failed_after == 0
    # All connections and both queues; the others are answered at once.
    assert most_kept(load.outcomes, LATE + live.longest) <= 2 * (SIZE + MAX_WAITING)


def test_nothing_fires_while_all_is_well(it: World, monitor: Prometheus) -> None:
    """For longer than any alert's window and `for` together."""
    begun = time.time()
    with loaded(it.service.port, [LIVE, READY, *READS, *WRITES], EACH_SECOND) as load:
        scrapes = 'sum(sum_over_time(up{job="service"}[1h]))'
        [before] = values(monitor, scrapes)
        wait_for(lambda: values(monitor, scrapes) >= [before + 32], "a quarter of an hour")
    assert statuses(load.outcomes).keys() <= {200, 201}
    assert fired(monitor, begun) == set()


def test_waits_and_holds_are_measured_as_they_are(it: World) -> None:
    """Twice as many as there are connections: half of them wait as long as the others work."""
    work = 1.5
    sums = [f'db_pool_{what}_seconds_sum{{pool="primary"}}' for what in ("checkout", "hold")]
    load = Load()
    with it.slow_writes(work):
        asyncio.run(clients(it.service.port, [WRITES[0]], Load(), each=SIZE, number=1))
        before = [it.figure(name) for name in sums]
        asyncio.run(
            clients(it.service.port, [WRITES[0]], load, each=2 * SIZE, number=1, offset=SIZE)
        )
        waited, held = (it.figure(name) - then for name, then in zip(sums, before, strict=True))
    assert statuses(load.outcomes) == {201: 2 * SIZE}
    assert waited == pytest.approx(SIZE * work, rel=0.05)
    assert held == pytest.approx(2 * SIZE * work, rel=0.05)


@pytest.mark.parametrize("fault", ["black hole", "stopped server", "server down"])
def test_an_outage(record: Record, it: World, watch: Watch, fault: str) -> None:
    seconds = OUTAGE if fault == "black hole" else STOPPAGE
    name = f"{fault}, {seconds:g} s"
    unreachable = [("DatabaseUnreachable", pool) for pool in ("primary", "asyncpg")]
    with (
        watch.expects(name, *unreachable, ("ServiceErrors", ""), ("ServiceNotReady", "")),
        loaded(it.service.port, [READY], 2),
        loaded(it.service.port, [LIVE, *READS, *WRITES], EACH_SECOND) as load,
    ):
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        with {"black hole": it.black_hole, "stopped server": it.stopped, "server down": it.down}[
            fault
        ]():
            begun, attempts = time.monotonic(), it.proxy.accepted
            time.sleep(seconds)  # what an outage is
            attempts = it.proxy.accepted - attempts
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * EACH_SECOND, "three seconds' load")
    check_outage(record, name, load, begun, ended)
    check_rows(it, load.outcomes)
    if fault == "server down":  # found out at once: one pool asks for both, once a second
        assert attempts <= seconds + 2


def test_a_restart_costs_no_read(record: Record, it: World) -> None:
    """As long as all that come meanwhile find a place in the queue."""
    each_second = (SIZE + MAX_WAITING) / 2
    with loaded(it.service.port, READS, each_second) as load:
        wait_for(lambda: len(load.outcomes) > each_second, "a second's load")
        begun = time.monotonic()
        it.pg_ctl("restart", "--mode", "immediate")
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * each_second, "three seconds' load")
    for outcomes in by_kind(load.outcomes).values():
        figures = record.add("restart", outcomes, begun=begun, ended=ended)
        assert figures.answers.keys() == {"200"}, Counter(each.text for each in outcomes)
        assert figures.longest <= DEADLINE + LATE


def test_idle_connections_that_are_killed_cost_nothing(record: Record, it: World) -> None:
    load = Load()
    for _ in range(10):
        asyncio.run(clients(it.service.port, READS, load, each=10, number=5))
        it.kill_connections()
    assert len(load.outcomes) == 1000
    for outcomes in by_kind(load.outcomes).values():
        figures = record.add("idle connections killed", outcomes)
        assert figures.answers.keys() == {"200"}


def test_only_the_work_on_a_killed_connection_fails(record: Record, it: World) -> None:
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
        record.add("killed at work", outcomes)
    failed = [each for each in load.outcomes if not each.is_ok]
    assert statuses(failed).keys() <= {503}
    assert all(each.request in WRITES for each in failed)
    assert len(failed) <= 2 * SIZE
    check_rows(it, load.outcomes)


def busy(it: World) -> int:
    return sum(used for _, used in it.connections().values())


def test_overload_is_refused_at_once_and_costs_no_throughput(
    record: Record, it: World, watch: Watch
) -> None:
    """Five times as much as the pool can do."""
    name = f"overload, {OVERLOAD:g} s"
    slow = Request("POST", "/users", WRITES[0].body)
    with it.slow_writes(0.2):
        unloaded = Load()
        asyncio.run(clients(it.service.port, [slow], unloaded, each=SIZE, number=20, offset=10**6))
        begun = min(each.started for each in unloaded.outcomes)
        able = len(unloaded.outcomes) / (max(each.ended for each in unloaded.outcomes) - begun)
        with (
            watch.expects(name, ("PoolSaturated", "primary"), ("PoolRejections", "primary")),
            loaded(it.service.port, [slow], 5 * able) as load,
            loaded(it.service.port, [LIVE], 20) as idle,
        ):
            # The queue is full after a second; what is done then is what is done for good.
            wait_for(lambda: it.waiting() == MAX_WAITING, "a full queue")
            begun = time.monotonic()
            time.sleep(OVERLOAD)  # what is measured
            ended = time.monotonic()
        over = time.monotonic()
        wait_for(lambda: it.waiting() == 0, "an empty queue")
        assert time.monotonic() - over <= 1
    done = [each for each in load.outcomes if each.is_ok and begun <= each.ended < ended]
    refused = [each for each in load.outcomes if each.status == 503]
    record.add(name, load.outcomes)
    assert statuses(load.outcomes).keys() <= {201, 503}
    assert longest(load.outcomes) <= DEADLINE + LATE
    full = [each for each in refused if "Too many" in each.text]
    # What liveness takes in the same seconds is the machine's.
    assert quantile(full, 0.5) <= 0.01
    assert quantile(full, 0.99) <= 0.01 + longest(idle.outcomes)
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


def test_a_server_that_lets_no_more_in(record: Record, it: World) -> None:
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
    record.add("no more connections", load.outcomes)
    refused = [each for each in load.outcomes if not each.is_ok]
    assert refused
    assert statuses(load.outcomes).keys() == {201, 503}
    assert quantile(refused, 0.99) <= AT_ONCE + live
    check_rows(it, [*before.outcomes, *load.outcomes])
    wait_for(lambda: asyncio.run(call(it.service.port, WRITES[0], 10**7)).is_ok, "a success", BACK)


@pytest.mark.parametrize("table", ["users", "items"])
def test_a_lock_ends_the_wait_before_the_deadline_and_harms_no_other_pool(
    record: Record, it: World, watch: Watch, table: str
) -> None:
    """Whoever waits for the lock, or for those who do, is told before the deadline."""
    pool = {"users": "primary", "items": "asyncpg"}[table]
    [read] = [request for request in READS if table in request.path]
    [other] = [request for request in READS if request is not read]
    name = f"locked table {table}, {OVERLOAD:g} s"
    asyncio.run(clients(it.service.port, READS, Load(), each=SIZE, number=2))  # all are connected
    with (
        watch.expects(name, ("PoolTimeouts", pool)),
        it.locked(table),
        loaded(it.service.port, [LIVE, other], 20) as load,
        loaded(it.service.port, [read], 20) as locked,
    ):
        time.sleep(OVERLOAD)  # what a lock is
    figures = record.add(name, locked.outcomes)
    assert figures.answers.keys() == {"503"}
    # 0.4 of the deadline in the queue, and again for the lock.
    assert figures.longest <= 2 * 0.4 * DEADLINE + LATE + AT_ONCE
    kinds = by_kind(load.outcomes)
    live = quantile(kinds.pop(LIVE), 0.99)
    [others] = kinds.values()
    assert record.add(name, others).answers.keys() == {"200"}
    assert quantile(others, 0.99) <= AT_ONCE + live


def test_a_blip_costs_nothing(record: Record, it: World) -> None:
    """Nothing fails, and nothing connects anew, if the queue has room for those who come."""
    pause = 0.3 * DEADLINE  # of 0.4 that a connection is waited for
    each_second = (SIZE + MAX_WAITING) / pause
    with loaded(it.service.port, [*READS, *WRITES], each_second) as load:
        wait_for(lambda: len(load.outcomes) > each_second, "a second's load")
        attempts = it.proxy.accepted
        with it.blip():
            begun = time.monotonic()
            time.sleep(pause)  # what a blip is
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 2 * each_second, "two seconds' load")
        attempts = it.proxy.accepted - attempts
    for outcomes in by_kind(load.outcomes).values():
        figures = record.add(f"blip, {pause:g} s", outcomes, begun=begun, ended=ended)
        assert figures.answers.keys() <= {"200", "201"}
        assert figures.longest <= pause + LATE + AT_ONCE
    assert attempts <= 2 * SIZE
    check_rows(it, load.outcomes)


@pytest.mark.parametrize(("storm", "rows"), [("serialization failures", 40), ("deadlocks", 300)])
def test_transactions_that_meet_are_run_again(
    record: Record, it: World, storm: str, rows: int
) -> None:
    """Serializable counts, each of a row at random, by clients that never pause."""
    # In a small table the server reads, and remembers as read, all rows to find one.
    it.observer.rows(
        "INSERT INTO users (name, email)"
        " SELECT 'load', n || '@load' FROM generate_series(1, 5000) n"
    )
    it.observer.rows("ANALYZE users")
    ids = [
        row[0] for row in it.observer.rows("SELECT id FROM users WHERE name = 'load' ORDER BY id")
    ]
    ids = ids[:rows]
    before, deadlocks = it.errors("Conflict"), it.deadlocks()
    outcomes: list[Outcome] = []

    async def count(choose: random.Random) -> None:
        for number in range(400):
            visit = Request("POST", f"/users/{choose.choice(ids)}/visits")
            outcomes.append(await call(it.service.port, visit, number))

    async def clients_of_all() -> None:
        await asyncio.gather(*(count(random.Random(seed)) for seed in range(4)))

    with it.crossing() if storm == "deadlocks" else nullcontext():
        asyncio.run(clients_of_all())
    counted = it.observer.value("SELECT sum(visits)::int FROM users WHERE name = 'load'")
    succeeded = sum(each.is_ok for each in outcomes)
    conflicts, deadlocks = it.errors("Conflict") - before, it.deadlocks() - deadlocks
    print(f"{conflicts} conflicts, {deadlocks} deadlocks in {len(outcomes)} transactions")
    same = [replace(each, request=Request("POST", "/users/{id}/visits")) for each in outcomes]
    record.add(storm, same)
    assert conflicts >= 10
    assert deadlocks >= 3 or storm != "deadlocks"
    assert counted == succeeded
    assert succeeded >= 0.999 * len(outcomes)


@pytest.mark.parametrize("fault", ["", "black hole"])
def test_the_end(record: Record, installed: Installed, fault: str) -> None:
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
        # Others came to a closed door, or stood before it: the service has seen none of them.
        accepted = [each for each in load.outcomes if each.status]
        assert len(accepted) == it.served("/users", "/items")
        for outcomes in by_kind(accepted).values():
            record.add(f"SIGTERM {fault}".strip(), outcomes, begun=asked)
        if not fault:
            assert statuses(accepted).keys() <= {200, 201}
        assert longest(accepted) <= DEADLINE + LATE
        wait_for(lambda: not it.connections(), "the end of all connections")
        check_rows(it, load.outcomes)
