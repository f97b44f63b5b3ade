"""What becomes of requests when the upstream of the HTTP pool is in trouble."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from faults import upstream
from faults.load import Load, Request, call, clients, loaded, longest, quantile, statuses
from faults.results import Record
from faults.test_database import AT_ONCE, BACK, DEADLINE, LATE, LIVE, by_kind
from faults.upstream import Behaviour, Upstream
from faults.world import World, is_settled, world
from running import wait_for
from test_services import Installed

pytestmark = [pytest.mark.services, pytest.mark.posix]

READ = Request("GET", "/external/thing")
OTHER = Request("GET", "/users/1")
TOTAL = 2.0  # seconds for an answer of the upstream
PER_HOST = 5
MAX_WAITING = 20
MEMORY = 60_000_000  # bytes that five answers of at most 10 MiB may take, and no more


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with Upstream().run() as server:
        yield server


@pytest.fixture(scope="module")
def running(installed: Installed, server: Upstream) -> Iterator[World]:
    settings = {
        "AIOHTTP__BASE_URL": f"http://127.0.0.1:{server.port}",
        "AIOHTTP__TOTAL_TIMEOUT": f"{TOTAL:g}",
        "AIOHTTP__LIMIT_PER_HOST": str(PER_HOST),
        "AIOHTTP__MAX_WAITING": str(MAX_WAITING),
    }
    with world(installed, settings) as it:
        yield it


@pytest.fixture
def it(running: World) -> Iterator[World]:
    """The service, at peace before and after."""
    wait_for(lambda: is_settled(running), "peace before the fault")
    files, tasks = running.files(), running.tasks()
    yield running
    wait_for(lambda: asyncio.run(call(running.service.port, READ, 0)).is_ok, "a success", BACK)
    wait_for(lambda: is_settled(running), "peace after the fault")
    for figure in ("in_use", "waiting"):
        assert running.figure(f'http_pool_{figure}{{pool="aiohttp"}}') == 0
    wait_for(lambda: running.files() <= files + PER_HOST, "closed sockets")
    wait_for(lambda: running.tasks() <= tasks, "the end of all tasks")


@pytest.mark.parametrize(
    ("behaviour", "status", "most"),
    [
        (upstream.say_nothing, 504, TOTAL),
        (upstream.drip_head, 504, TOTAL),
        (upstream.drip_body, 504, TOTAL),
        (upstream.never_end, 502, TOTAL),
        (upstream.send_bomb, 502, TOTAL),
        (upstream.redirect_to_itself, 502, TOTAL),
        (upstream.be_busy, 502, DEADLINE),
        (upstream.reset_the_second, 200, TOTAL),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_an_upstream_that_misbehaves(
    record: Record, it: World, server: Upstream, behaviour: Behaviour, status: int, most: float
) -> None:
    """Each request is answered in time, and those that need no upstream do not notice."""
    load, memory = Load(), it.memory()
    with (
        server.behaving(behaviour),
        loaded(it.service.port, [LIVE, OTHER], 20) as others,
    ):
        asyncio.run(clients(it.service.port, [READ], load, each=PER_HOST, number=2))
    figures = record.add(f"upstream: {behaviour.__name__.replace('_', ' ')}", load.outcomes)
    assert figures.answers.keys() == {str(status)}
    assert figures.longest <= most + LATE + longest(by_kind(others.outcomes)[LIVE])
    assert statuses(others.outcomes).keys() == {200}
    assert it.memory() - memory < MEMORY


def test_a_slow_upstream_keeps_a_bounded_number_waiting(
    record: Record, it: World, server: Upstream
) -> None:
    """The others are refused at once, and the pool is of use as soon as the upstream is."""
    with (
        server.behaving(upstream.say_nothing),
        loaded(it.service.port, [LIVE], 20) as idle,
        loaded(it.service.port, [READ], 30) as load,
    ):
        ended = time.monotonic() + 2 * TOTAL  # what a slow upstream is
        queues = []
        while time.monotonic() < ended:
            queues.append(it.figure('http_pool_waiting{pool="aiohttp"}'))
            assert it.figure('http_pool_in_use{pool="aiohttp"}') <= PER_HOST
            time.sleep(0.1)  # one sample after another
    record.add("upstream: say nothing, overload", load.outcomes)
    assert statuses(load.outcomes).keys() <= {503, 504}
    assert max(queues) == MAX_WAITING
    live = longest(idle.outcomes)
    assert longest(load.outcomes) <= DEADLINE + LATE + live
    full = [each for each in load.outcomes if "Too many" in each.text]
    assert full
    # Of a hundred, one says more of what else the machine does.
    assert quantile(full, 0.5) <= AT_ONCE


def test_an_upstream_that_is_down_is_told_at_once(
    record: Record, it: World, server: Upstream
) -> None:
    with loaded(it.service.port, [LIVE, READ], 30) as load:
        wait_for(lambda: len(load.outcomes) > 30, "a second's load")
        with server.down():
            begun = time.monotonic()
            time.sleep(3)  # what an outage is
        ended = time.monotonic()
        wait_for(lambda: len(load.since(ended)) > 90, "three seconds' load")
    reads = by_kind(load.outcomes)[READ]
    figures = record.add("upstream: down", reads, begun=begun, ended=ended, known=begun)
    assert figures.answers.keys() == {"200", "502"}
    assert quantile([each for each in reads if each.status == 502], 0.5) <= AT_ONCE
    assert figures.recovered is not None
    assert figures.recovered <= BACK
    assert figures.failed_after == 0
