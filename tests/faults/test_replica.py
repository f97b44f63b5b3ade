"""What becomes of reads and writes when one of several servers is in trouble."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from faults.load import Request, loaded, statuses
from faults.results import Record
from faults.test_database import DEADLINE, LATE, SETTINGS, WRITES, by_kind, check_rows
from faults.world import ROLE, Observer, World, directory_of, observing, world
from running import started, wait_for
from test_services import Installed

pytestmark = [pytest.mark.services, pytest.mark.posix]

READ = Request("GET", "/users/1")
WRITE = WRITES[0]
EACH_SECOND = 20
BACK = 5.0  # seconds until a replica serves again, or a promoted one takes writes

# Runs in the project: a replica of the server of a URL, until the end of input.
REPLICA = """
import sys
from tests.replication.servers import replica_of
with replica_of(sys.argv[1]) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def replicated(
    installed: Installed, primary: str, *, fails_over: bool
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A replica that serves reads, or one that may become the primary."""
    log = installed.project.path.with_name("replica.log")
    command = (installed.python, "-c", REPLICA, primary)
    with started(installed.project, log, *command, talks=True) as process:
        assert process.stdin
        assert process.stdout
        replica = process.stdout.readline().strip()
        first, second = directory_of(primary), directory_of(replica)
        variables = {"REPLICA__URL": replica}
        if fails_over:
            hosts = f"host={first}&host={second}&target_session_attrs=primary"
            url = urlsplit(primary)._replace(netloc=f"{ROLE}@", query=hosts)
            variables = {"PRIMARY__URL": url.geturl(), "STANDBY": replica}
        yield first / ".s.PGSQL.5432", variables
        process.stdin.close()
        process.wait()


@pytest.fixture
def it(installed: Installed) -> Iterator[World]:
    settings = {**SETTINGS, "REPLICA__MAX_LAG": "1"}
    around = partial(replicated, installed, fails_over=False)
    with world(installed, settings, surroundings=around) as it:
        wait_for(lambda: it.said("replica serves reads") == 1, "the replica")
        yield it


@pytest.fixture
def on_replica(it: World) -> Iterator[Observer]:
    with observing(it.installed, it.variables["REPLICA__URL"]) as observer:
        yield observer


def test_a_replica_that_is_killed_costs_no_read(record: Record, it: World) -> None:
    data = directory_of(it.variables["REPLICA__URL"])
    with loaded(it.service.port, [READ, WRITE], EACH_SECOND) as load:
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        begun = time.monotonic()
        it.pg_ctl("stop", "--mode", "immediate", data=data)
        wait_for(lambda: it.said("replica is left out") == 1, "a replica that is left out", BACK)
        wait_for(lambda: it.pools()["replica"] == "down", "health that knows of it")
        it.pg_ctl("start", "--wait", "-o", f"-h '' -k {data}", data=data)
        ended = time.monotonic()
        wait_for(lambda: it.said("replica serves reads") == 2, "the replica", BACK)
    for outcomes in by_kind(load.outcomes).values():
        figures = record.add("replica killed", outcomes, begun=begun, ended=ended)
        assert figures.answers.keys() <= {"200", "201"}
        assert figures.longest <= DEADLINE + LATE
    check_rows(it, load.outcomes)


def test_a_replica_that_lags_is_left_out_and_nobody_misses_what_he_wrote(
    it: World, on_replica: Observer
) -> None:
    on_replica.rows("SELECT pg_wal_replay_pause()")
    for number in range(100):
        body = {"name": "load", "email": f"{number}@load"}
        created = it.service.call("POST", "/users", body)
        assert created.status == 201
        token = {"X-Read-After": created.headers["X-Read-After"]}
        assert it.service.call("GET", f"/users/{created.json['id']}", **token).status == 200
    wait_for(lambda: it.said("replica is left out") == 1, "a replica that is left out", BACK)
    # Now nobody needs a token.
    assert it.service.call("GET", f"/users/{created.json['id']}").status == 200
    on_replica.rows("SELECT pg_wal_replay_resume()")
    wait_for(lambda: it.said("replica serves reads") == 2, "the replica", BACK)
    assert it.said("replica is left out") == 1


def test_writes_follow_a_promoted_replica(record: Record, installed: Installed) -> None:
    around = partial(replicated, installed, fails_over=True)
    with world(installed, SETTINGS, surroundings=around) as it:
        standby = it.variables["STANDBY"]
        for statement in ("synchronous_standby_names = '*'", "synchronous_commit = on"):
            it.observer.rows(f"ALTER SYSTEM SET {statement}")
        it.observer.rows("SELECT pg_reload_conf()")
        with loaded(it.service.port, [READ, WRITE], EACH_SECOND) as load:
            wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
            begun = time.monotonic()
            it.pg_ctl("stop", "--mode", "immediate")
            it.pg_ctl("promote", data=directory_of(standby))
            ended = time.monotonic()
            wait_for(lambda: len(load.since(ended)) > BACK * EACH_SECOND, "load after it")
        for outcomes in by_kind(load.outcomes).values():
            figures = record.add("failover", outcomes, begun=begun, ended=ended)
            assert figures.recovered is not None
            assert figures.recovered <= BACK
            assert figures.failed_after == 0
            assert statuses(outcomes).keys() <= {200, 201, 503}
        with observing(installed, standby) as observer:
            check_rows(it, load.outcomes, observer)
