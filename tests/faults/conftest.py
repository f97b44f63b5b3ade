"""What tests of faults share."""

import os
from collections.abc import Iterator

import pytest

from combinations import EVERYTHING
from faults.results import Record, keep
from test_services import Install, Installed, install, workshop

__all__ = ["install", "workshop"]


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """All that was seen, kept and shown at the end, unless other tests ran at the same time."""
    record = Record()
    yield record
    if "PYTEST_XDIST_WORKER" not in os.environ:
        keep("faults", record.results)


@pytest.fixture(scope="module")
def installed(install: Install) -> Installed:
    return install(**EVERYTHING)
