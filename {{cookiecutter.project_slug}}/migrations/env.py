"""Run migrations on a connection of their own, which no pool knows."""

import asyncio
from importlib import import_module
from pathlib import Path

from alembic import context
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app import __title__
from app.pools.postgres import DatabaseUrl, UrlFile, dsn, read_url
from app.settings import Settings

APP = Path(__file__).parent.parent / "app"

# The tables that models describe; others belong to raw SQL and are left alone.
metadata: list[MetaData] = [
    import_module(f"app.{path.parent.name}.models").Base.metadata
    for path in sorted(APP.glob("*/models.py"))
]


class Database(BaseModel):
    url: DatabaseUrl | None = None
    url_file: UrlFile | None = None


class Databases(BaseSettings):
    """All that a migration needs of the service's settings."""

    model_config = Settings.model_config

    database_url: DatabaseUrl | None = None
    database_url_file: UrlFile | None = None
    primary: Database = Database()
    asyncpg: Database = Database()

    @property
    def url(self) -> DatabaseUrl:
        name = "primary" if "primary" in Settings.model_fields else "asyncpg"
        pool: Database = getattr(self, name)
        common = Database(url=self.database_url, url_file=self.database_url_file)
        for variable, given in ((f"{name.upper()}__URL", pool), ("DATABASE_URL", common)):
            if given.url_file:
                return read_url(given.url_file, f"{variable}_FILE")
            if given.url:
                return given.url
        raise SystemExit("DATABASE_URL is not set: set it to the database to migrate.")


def is_modelled(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or any(name in each.tables for each in metadata)


def run(connection: Connection) -> None:
    context.configure(connection, target_metadata=metadata, include_name=is_modelled)
    with context.begin_transaction():
        context.run_migrations()


async def migrate() -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args={
            "dsn": dsn(context.config.attributes.get("url") or Databases().url),
            "timeout": 10,
            # A migration that waits for a lock makes everyone else wait behind it.
            "server_settings": {
                "application_name": f"{__title__}/migrations",
                "lock_timeout": "10000",
            },
        },
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(migrate())
