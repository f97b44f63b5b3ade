"""A mixed load with one fault after another: nothing grows."""

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import pytest

from faults.load import Load, Request, loaded, statuses
from faults.test_database import DEADLINE, LIVE, READS, SETTINGS, SIZE, WRITES, check_rows
from faults.world import World, is_settled, world
from running import wait_for
from test_services import Installed

pytestmark = [pytest.mark.services, pytest.mark.posix]

SOAK = float(os.environ.get("SOAK", "120"))  # seconds; `make soak` takes an hour
EACH_SECOND = 60
EXTERNAL = [Request("GET", "/external/thing"), Request("POST", "/webhook", lambda n: {"n": n})]
GROWTH = 0.1  # of the memory after the first faults, which fill caches
# Seconds; what a slow upstream made the service open is closed again within twice as many.
KEPT = {"AIOHTTP__KEEPALIVE_TIMEOUT": "5"}


def faults(it: World) -> list[Callable[[], AbstractContextManager[object]]]:
    def kill() -> AbstractContextManager[object]:
        it.kill_connections()
        return nullcontext()

    def restart() -> AbstractContextManager[object]:
        it.pg_ctl("restart", "--mode", "immediate")
        return nullcontext()

    return [it.black_hole, it.stopped, it.down, lambda: it.locked("users"), kill, restart]


def test_nothing_grows(installed: Installed) -> None:
    choose = random.Random(1)
    with world(installed, SETTINGS | KEPT) as it:
        wait_for(lambda: is_settled(it), "peace before the faults")
        requests = [LIVE, *READS, *WRITES, *EXTERNAL]
        sizes: list[int] = []
        tasks, files = it.tasks(), it.files()
        with loaded(it.service.port, requests, EACH_SECOND) as load:
            end = time.monotonic() + SOAK
            while time.monotonic() < end or len(sizes) < 2:
                for fault in choose.sample(faults(it), k=len(faults(it))):
                    with fault():
                        time.sleep(choose.uniform(0.5, 2))  # what a fault is
                    wait_for(partial(has_read, load, time.monotonic()), "a success")
                wait_for(lambda: is_ready(it), "a service that is ready")
                sizes.append(it.memory())
        wait_for(lambda: is_settled(it), "peace after the faults")
        assert statuses([each for each in load.outcomes if each.request is LIVE]).keys() == {200}
        assert statuses(load.outcomes).keys() <= {200, 201, 503, 504}
        assert max(each.seconds for each in load.outcomes) <= DEADLINE + 1
        print(f"\n{len(load.outcomes)} requests, memory {sizes}, files {files}, then {it.files()}")
        assert sizes[-1] <= (1 + GROWTH) * sizes[0]
        wait_for(lambda: it.files() <= files + 2 * SIZE, "closed sockets")
        wait_for(lambda: it.tasks() <= tasks, "the end of all tasks")
        check_rows(it, load.outcomes)


def has_read(load: Load, since: float) -> bool:
    return any(each.is_ok and each.request in READS for each in load.since(since))


def is_ready(it: World) -> bool:
    return it.service.call("GET", "/health/ready").status == 200
