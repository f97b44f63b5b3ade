"""The page `/pools`, which is off in production and on here."""

from collections.abc import Iterator
from contextlib import contextmanager

from dev import given


@contextmanager
def serve(fresh: bool) -> Iterator[dict[str, str]]:
    """Nothing runs; the page is on unless POOLS_PAGE says otherwise. Tests have the default."""
    yield {} if fresh or given("POOLS_PAGE") else {"POOLS_PAGE": "true"}
