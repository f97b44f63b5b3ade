"""Read an item, store many at once."""

# Goes with the examples.

from typing import Annotated

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel

from app.items import queries
from app.items.schemas import ItemCreate, ItemRead
from app.sql import Sql

router = APIRouter(prefix="/items", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Batch = Annotated[list[ItemCreate], Body(min_length=1, max_length=10_000)]


class Inserted(BaseModel):
    inserted: int


@router.post("/batch")
async def insert_items(items: Batch, sql: Sql) -> Inserted:
    """All items are stored when the answer arrives, or none is."""
    await sql.run(lambda connection: queries.insert_items(connection, items))
    return Inserted(inserted=len(items))


@router.get("/{item_id}")
async def read_item(item_id: ItemId, sql: Sql) -> ItemRead:
    return await queries.get_item(sql, item_id)
