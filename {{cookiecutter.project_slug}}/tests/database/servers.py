"""A server of the tests' own, which they may restart and set up as they like."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dev import ROOT
from dev.servers.postgres import execute, migrate, run, server


@contextmanager
def sample_server() -> Iterator[str]:
    """The URL of a new server with all tables and the sample rows, which is gone afterwards."""
    with server() as url:
        migrate(url)
        samples = sorted((ROOT / "dev" / "samples").glob("*.sql"))
        asyncio.run(execute(url, *(sample.read_text() for sample in samples)))
        yield url


def directory_of(url: str) -> Path:
    """Where the socket of a server of ours is, and its data."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])


async def pg_ctl(url: str, *arguments: str) -> None:
    """Run `pg_ctl` on a server of ours while the event loop goes on."""
    data = directory_of(url)
    log = ("--silent", "--log", str(data / "log"))
    await asyncio.to_thread(run, "pg_ctl", data, *log, *arguments)
