"""The same outages on stacks as they are commonly set up: what the service has its parts for."""

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.load import Request, loaded
from faults.results import Record, keep
from faults.test_database import DEADLINE, EACH_SECOND, LATE
from faults.world import world
from running import wait_for
from test_services import UV, Installed

pytestmark = [pytest.mark.plain, pytest.mark.services, pytest.mark.posix]

OUTAGE = 30  # seconds
APP = Path(__file__).with_name("plain.py")
READ = Request("GET", "/users/1")


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """Of these stacks, beside that of the service."""
    record = Record()
    yield record
    keep("plain", record.results)


@pytest.fixture(scope="module")
def with_psycopg(installed: Installed) -> Installed:
    python = f"--python={installed.python}"
    installed.project.run(*UV, "pip", "install", "--quiet", python, "psycopg[binary,pool]")
    return installed


def stacks() -> list[str]:
    """The names in `STACKS`, which only the project's environment can import."""
    for node in ast.parse(APP.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STACKS":
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(key) for key in node.value.keys if key]
    raise AssertionError("there are no stacks")


@pytest.mark.parametrize("stack", stacks())
def test_a_black_hole_breaks_the_promise(
    record: Record, with_psycopg: Installed, stack: str
) -> None:
    """Should one keep it some day, the service may leave the work to it."""
    with (
        world(with_psycopg, {"STACK": stack}, APP.stem) as it,
        loaded(it.service.port, [READ], EACH_SECOND) as load,
    ):
        wait_for(lambda: len(load.outcomes) > EACH_SECOND, "a second's load")
        with it.black_hole():
            begun = time.monotonic()
            time.sleep(OUTAGE)  # what an outage is
        ended = time.monotonic()
        wait_for(lambda: any(each.is_ok for each in load.since(ended)), "a success", 120)
    known = begun + DEADLINE + 1
    figures = record.add(stack, load.outcomes, begun=begun, ended=ended, known=known)
    assert figures.longest > DEADLINE + LATE
