"""What becomes of requests when the process itself, or what it may do, is in trouble."""

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults.load import Load, call, clients, loaded, statuses
from faults.results import Record
from faults.test_database import BACK, DEADLINE, LIVE, READS, SETTINGS, SIZE, by_kind
from faults.world import ROLE, World, is_settled, served, world
from running import Service, wait_for
from test_services import Installed

pytestmark = [pytest.mark.services, pytest.mark.posix]

EACH_SECOND = 20
PASSWORD = "the-first"


@pytest.fixture
def it(installed: Installed) -> Iterator[World]:
    """The service, which sends a password whether it is asked for one or not."""
    with world(installed, {**SETTINGS, "PGPASSWORD": PASSWORD}) as it:
        wait_for(lambda: is_settled(it), "peace before the fault")
        yield it
        wait_for(lambda: is_settled(it), "peace after the fault")


def test_an_event_loop_that_stood_still(record: Record, it: World) -> None:
    """Nothing is lost but time: no connection is closed for it."""
    pause = 2
    with loaded(it.service.port, [LIVE, *READS], EACH_SECOND) as load:
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        attempts = it.proxy.accepted
        begun = time.monotonic()
        assert it.service.call("POST", f"/block/{pause}").status == 200
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > EACH_SECOND, "a second's load")
    figures = record.add("event loop blocked, 2 s", load.outcomes, begun=begun, ended=ended)
    assert figures.answers.keys() == {"200"}
    assert pause / 2 < figures.longest <= DEADLINE
    assert it.proxy.accepted - attempts <= 2 * SIZE  # those that came meanwhile


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps(record: Record, it: World, seconds: int) -> None:
    """Lifetimes and timeouts are no affair of the time of day."""
    with loaded(it.service.port, READS, EACH_SECOND) as load:
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        attempts = it.proxy.accepted
        assert it.service.call("POST", f"/jump/{seconds}").status == 200
        jumped = time.monotonic()
        wait_for(lambda: len(load.since(jumped)) > EACH_SECOND, "a second's load")
        attempts = it.proxy.accepted - attempts
    figures = record.add(f"clock jumps by {seconds} s", load.outcomes)
    assert figures.answers.keys() == {"200"}
    assert attempts <= 1


def test_a_process_that_may_open_no_more_files(record: Record, it: World) -> None:
    """It serves those who are connected, and everybody as soon as it may."""
    pid = it.service.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with loaded(it.service.port, [LIVE, *READS], EACH_SECOND) as load:
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        begun = time.monotonic()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (10, before[1]))
        it.kill_connections()
        time.sleep(3)  # what the trouble is
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * EACH_SECOND, "three seconds' load")
    figures = record.add("no more files, 3 s", load.outcomes, begun=begun, ended=ended)
    assert figures.longest > 1  # who could not be let in
    assert it.service.process.poll() is None
    assert statuses(load.outcomes).keys() <= {200, 503, 504}
    assert figures.recovered is not None
    assert figures.recovered <= BACK


@contextmanager
def passwords_are_asked_for(it: World) -> Iterator[None]:
    rules = it.data / "pg_hba.conf"
    trusting = rules.read_text()
    rules.write_text(f"local all {ROLE} scram-sha-256\n{trusting}")
    it.observer.rows("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        rules.write_text(trusting)
        it.observer.rows("SELECT pg_reload_conf()")


def test_a_password_that_is_wrong_for_a_while(record: Record, it: World) -> None:
    """Connections that there are live on; new ones are asked for once a second."""

    def change(password: str) -> None:
        it.observer.rows(f"ALTER ROLE {ROLE} PASSWORD '{password}'")

    asyncio.run(clients(it.service.port, READS, Load(), each=SIZE, number=2))  # all are connected
    change(PASSWORD)
    with passwords_are_asked_for(it), loaded(it.service.port, READS, EACH_SECOND) as load:
        change("another")
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        assert statuses(load.outcomes).keys() == {200}
        it.kill_connections()
        begun, attempts = time.monotonic(), it.proxy.accepted
        time.sleep(3)  # what the trouble is
        attempts = it.proxy.accepted - attempts
        change(PASSWORD)
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 3 * EACH_SECOND, "three seconds' load")
    assert attempts <= 3 + 2  # one pool asks for both, once a second
    for outcomes in by_kind(load.outcomes).values():
        figures = record.add("wrong password, 3 s", outcomes, begun=begun, ended=ended)
        assert figures.answers.keys() == {"200", "503"}
        assert figures.recovered is not None
        assert figures.recovered <= BACK
        assert figures.failed_after == 0


def test_a_start_without_a_database(record: Record, it: World) -> None:
    it.pg_ctl("stop", "--mode", "immediate")
    with served(it.installed, it.variables, ready=False) as other:
        wait_for(lambda: is_live(other), "a service that is live")
        assert other.call("GET", "/health/ready").status == 503
        outcome = asyncio.run(call(other.port, READS[0], 0))
        assert outcome.status == 503
        record.add("started without a database", [outcome])
        it.pg_ctl("start", "--wait", "-o", f"-h '' -k {it.data}")
        took = wait_for(lambda: asyncio.run(call(other.port, READS[0], 0)).is_ok, "a success")
        assert took <= BACK
        wait_for(lambda: other.call("GET", "/health/ready").status == 200, "readiness", BACK)
        assert other.stop() == 0


def is_live(service: Service) -> bool:
    try:
        return service.call("GET", "/health/live").status == 200
    except OSError:
        return False
