"""1000 rows, all or none: a statement for each, as is commonly copied, and better ways."""

import asyncio
import csv
import itertools
import json
from functools import partial
from importlib.metadata import version
from io import BytesIO, StringIO
from typing import Any

import asyncpg
import dev
from app.items.queries import insert_items
from app.items.schemas import ItemCreate
from app.pools.asyncpg import register_codecs
from tests.database.proxy import Proxy

from side_by_side import Comparison, compare, keep, show

ITEMS = [ItemCreate(name=f"item {n}", value={"number": n, "tags": ["a"]}) for n in range(1000)]
INSERT = "INSERT INTO items (name, value) VALUES ($1, $2)"

Connection = Any  # Only the service's environment knows the driver's types.


async def row_by_row(connection: Connection) -> None:
    async with connection.transaction():
        for item in ITEMS:
            await connection.execute(INSERT, item.name, item.value)


async def batch(connection: Connection) -> None:
    """What `POST /items/batch` does."""
    await insert_items(connection, ITEMS)


async def executemany(connection: Connection) -> None:
    await connection.executemany(INSERT, [(item.name, item.value) for item in ITEMS])


async def copy(connection: Connection) -> None:
    rows = StringIO()
    csv.writer(rows).writerows((item.name, json.dumps(item.value)) for item in ITEMS)
    source = BytesIO(rows.getvalue().encode())
    await connection.copy_to_table("items", source=source, columns=["name", "value"], format="csv")


WAYS = {"row by row": row_by_row, "the service": batch, "executemany": executemany, "COPY": copy}


async def comparison(title: str, url: str) -> Comparison:
    connection = await asyncpg.connect(url)
    await register_codecs(connection)
    await connection.execute("TRUNCATE items")
    expected = itertools.count(len(ITEMS), len(ITEMS))

    async def check() -> None:
        """Each has stored its rows. They stay, as an empty table would begin with a new file."""
        rows = await connection.fetchval("SELECT count(*) FROM items")
        if rows != (right := next(expected)):
            raise ValueError(f"there are {rows} rows, not {right}")

    try:
        ways = {name: partial(way, connection) for name, way in WAYS.items()}
        return await compare(title, ways, check)
    finally:
        connection.terminate()


async def main(url: str) -> None:
    near = await comparison("1000 rows, on the same machine", url)
    async with Proxy(url).run() as proxy:
        proxy.delay = 0.002
        far = await comparison("1000 rows, 2 ms away, each way", proxy.url)
    for part in (near, far):
        show(part)
    keep("batch", {"asyncpg": version("asyncpg")}, [near, far])


if __name__ == "__main__":
    with dev.environment(fresh=True) as variables:
        asyncio.run(main(variables["DATABASE_URL"]))
