"""A streaming replica of one of our own servers."""

# Goes with the examples.

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from dev.servers.postgres import data_directory, run, start
from tests.database.servers import directory_of


@contextmanager
def replica_of(url: str) -> Iterator[str]:
    """The URL of a new replica of a server of ours, which is gone afterwards."""
    primary = directory_of(url)
    with data_directory() as data:
        data.chmod(0o700)
        shutil.chown(data, primary.stat().st_uid)
        data.parent.chmod(0o755)
        way = ("--host", str(primary), "-U", "postgres")
        run("pg_basebackup", data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync", *way)
        # It belongs to the socket of the primary, which is in its data directory.
        (data / ".s.PGSQL.5432.lock").unlink()
        start(data)
        yield urlsplit(url)._replace(query=f"host={data}").geturl()
