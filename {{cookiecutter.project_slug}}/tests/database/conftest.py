"""What the tests of databases share."""

from collections.abc import Iterator

import pytest

from tests.database.servers import sample_server


@pytest.fixture(scope="session")
def own_server() -> Iterator[str]:
    """The URL of a server with the sample rows, which tests may restart; it runs when they end."""
    with sample_server() as url:
        yield url
