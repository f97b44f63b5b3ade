"""The tables' history can be walked in both directions and ends where the models are."""

# Goes with the examples.

import asyncio
import io

import asyncpg
import pytest
from alembic import command
from alembic.config import Config, main as alembic
from alembic.script import ScriptDirectory

from dev import ROOT
from dev.servers.postgres import database_on, migrate, migrations


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows} - {"alembic_version"}


def test_there_and_back(variables: dict[str, str]) -> None:
    with database_on(variables["DATABASE_URL"]) as url:
        migrate(url)
        assert asyncio.run(tables(url))
        command.check(migrations(url))  # raises where a model differs from its table
        command.downgrade(migrations(url), "base")
        assert asyncio.run(tables(url)) == set()


def test_there_is_one_head() -> None:
    assert ScriptDirectory(str(ROOT / "migrations")).get_current_head()


def test_the_statements_can_be_printed() -> None:
    printed = io.StringIO()
    config = Config(ROOT / "alembic.ini", output_buffer=printed)
    command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE" in printed.getvalue()


def test_the_command_takes_the_url_from_the_environment(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with database_on(variables["DATABASE_URL"]) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        alembic(["upgrade", "head"])
        assert asyncio.run(tables(url))
