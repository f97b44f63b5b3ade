"""A password that changes while the service runs, which reads its URL from a file."""

# Goes with the examples.

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.pools.postgres import Connections, DatabaseSettings
from app.settings import Settings
from dev.servers.postgres import execute
from tests.database.fixtures import hasty
from tests.database.load import databases, reading, reads
from tests.database.servers import directory_of, pg_ctl
from tests.waiting import until

__all__ = ["hasty"]

ROLE = "changing"


def with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{ROLE}:{password}@{where}").geturl()


@pytest.fixture
def file(own_server: str, tmp_path: Path) -> Iterator[Path]:
    """The file with the URL of a role that has to give its password."""
    statements = [
        f"CREATE ROLE {ROLE} LOGIN PASSWORD 'first'",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}",
    ]
    rules = directory_of(own_server) / "pg_hba.conf"
    before = rules.read_text()
    asyncio.run(execute(own_server, *statements))
    rules.write_text(f"local all {ROLE} scram-sha-256\n{before}")
    asyncio.run(pg_ctl(own_server, "restart"))
    file = tmp_path / "url"
    file.write_text(f"{with_password(own_server, 'first')}\n")
    yield file
    rules.write_text(before)
    asyncio.run(pg_ctl(own_server, "restart"))
    asyncio.run(execute(own_server, f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}"))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, file: Path) -> Settings:
    """Connections are replaced all the time; there is time for it on a machine that is busy."""
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    settings = Settings(request_deadline=30)
    for _, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings):
            for lifetime in {"pool_recycle", "max_lifetime"} & set(type(pool).model_fields):
                setattr(pool, lifetime, 0.05)
    return settings


@pytest.mark.usefixtures("hasty")
async def test_a_new_password_is_taken_up_under_load(
    own_server: str, app: FastAPI, client: httpx.AsyncClient, file: Path
) -> None:
    connections: list[Connections] = []

    def opened() -> int:
        return min(sum(each.opened.counts) for each in connections)

    def is_taken_up() -> bool:
        """Those who came between the change and the new URL were refused, until a probe looks."""
        return opened() > before and not any(each.breaker.is_tripped for each in connections)

    paths = reads(app)
    async with reading(client, paths, databases(app), clients=1) as load:
        await until(lambda: len(load.statuses) > 50)
        in_use = [pool for pool in databases(app) if sum(pool.stats().hold.counts) > 10]
        connections += [pool.connections for pool in in_use]
        assert connections
        await execute(own_server, f"ALTER ROLE {ROLE} PASSWORD 'second'")
        await asyncio.to_thread(file.write_text, with_password(own_server, "second"))
        before = opened()
        await until(is_taken_up)
        known = len(load.statuses) + len(paths)  # those that had begun by then are among the first
        before = opened()
        await until(lambda: len(load.statuses) > known + 100 and opened() > before + 3)
    assert set(load.statuses[known:]) == {200}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(with_password(own_server, "first"))


async def test_a_file_that_cannot_be_read_is_as_it_was(
    app: FastAPI, client: httpx.AsyncClient, file: Path
) -> None:
    for broken in (lambda: file.write_text(""), file.unlink):
        broken()
        for pool in databases(app):
            connection = await pool.connections.connect()
            connection.terminate()


def test_a_url_from_a_file(settings: Settings, file: Path) -> None:
    urls = [pool.url for _, pool in settings.pool_settings() if isinstance(pool, DatabaseSettings)]
    assert SecretStr(file.read_text().strip()) in urls
