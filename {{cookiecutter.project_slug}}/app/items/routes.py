"""Read an item, store many at once."""

from typing import Annotated

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel

from app.items import queries
from app.items.schemas import ItemCreate, ItemRead
from app.pools.asyncpg import SqlPool
from app.retry import Retrying

router = APIRouter(prefix="/items", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Batch = Annotated[list[ItemCreate], Body(min_length=1, max_length=10_000)]


class Inserted(BaseModel):
    inserted: int


@router.post("/batch")
async def insert_items(items: Batch, pool: SqlPool, retry: Retrying) -> Inserted:
    """All items are stored when the answer arrives, or none is."""

    async def insert() -> None:
        async with pool.connection() as connection:
            await queries.insert_items(connection, items)

    await retry.transaction(insert)
    return Inserted(inserted=len(items))


@router.get("/{item_id}")
async def read_item(item_id: ItemId, pool: SqlPool, retry: Retrying) -> ItemRead:
    async def read() -> ItemRead:
        async with pool.connection() as connection:
            return await queries.get_item(connection, item_id)

    return await retry.transaction(read, idempotent=True)
