"""All SQL about items; each function works on the pool or the connection that it is given."""

# Goes with the examples.

from collections.abc import Sequence
from typing import ClassVar

import asyncpg
from pydantic import ConfigDict, JsonValue, TypeAdapter

from app.errors import Problem
from app.items.schemas import ItemCreate, ItemRead
from app.pools.asyncpg import PooledConnection
from app.sql import Sql

# What is no number in JSON is left for PostgreSQL to refuse.
VALUES = TypeAdapter(list[JsonValue], config=ConfigDict(ser_json_inf_nan="constants"))


class ItemNotFound(Problem):
    status: ClassVar[int] = 404


class ItemsRefused(Problem):
    status: ClassVar[int] = 422


async def get_item(sql: Sql, item_id: int) -> ItemRead:
    """Raises ItemNotFound."""
    row = await sql.first("SELECT id, name, value FROM items WHERE id = $1", item_id)
    if row is None:
        raise ItemNotFound("There is no such item.")
    return ItemRead(**row)


async def insert_items(connection: PooledConnection, items: Sequence[ItemCreate]) -> None:
    """Insert all or none: one statement is one transaction.

    Raises ItemsRefused for what JSON can say and PostgreSQL cannot keep, such as a NUL character,
    and for what is nested so deeply that no answer could hold it.
    """
    try:
        # By what writes the answers, as nobody has looked at the values yet.
        values = VALUES.dump_json([item.value for item in items]).decode()
        await connection.execute(
            "INSERT INTO items (name, value)"
            " SELECT name, value::jsonb FROM ROWS FROM"
            " (unnest($1::text[]), json_array_elements($2::text::json)) AS new (name, value)",
            [item.name for item in items],
            values,
        )
    except (asyncpg.DataError, ValueError) as error:  # ValueError: pydantic's, of what is too deep
        raise ItemsRefused("A name or a value holds what cannot be stored.") from error
