"""Pass a resource of the upstream on, and send a webhook."""

# Goes with the examples.

import json
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from pydantic import AfterValidator, BaseModel, JsonValue

from app.external import client
from app.pools.aiohttp import HttpPool
from app.retry import Retrying

router = APIRouter(tags=["external"])

# No character that could lead to another path, query or host of the upstream.
Resource = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]+$", max_length=200)]

# What a header may hold.
IdempotencyKey = Annotated[str | None, Header(pattern=r"^[\x21-\x7e]+$", max_length=255)]


def can_be_passed_on(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Python reads NaN, and takes 1e999 for infinite; the receiver's JSON may know neither."""
    json.dumps(payload, allow_nan=False)
    return payload


Payload = Annotated[dict[str, JsonValue], AfterValidator(can_be_passed_on)]


class Delivered(BaseModel):
    status: int


@router.get("/external/{resource}")
async def read_resource(resource: Resource, pool: HttpPool, retry: Retrying) -> Response:
    """The upstream's JSON."""
    content = await client.fetch(pool, retry, resource)
    return Response(content, media_type="application/json")


@router.post("/webhook")
async def send_webhook(
    payload: Payload,
    pool: HttpPool,
    retry: Retrying,
    idempotency_key: IdempotencyKey = None,
) -> Delivered:
    """Deliver a webhook; with an `Idempotency-Key`, which is passed on, in several attempts."""
    return Delivered(status=await client.send_webhook(pool, retry, payload, idempotency_key))
