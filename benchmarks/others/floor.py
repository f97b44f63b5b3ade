"""As little as there can be: a function over the driver, and the framework without a database."""

import json
import os
from typing import Any

import asyncpg
from fastapi import FastAPI

from users import UserRead

URL = os.environ["DATABASE_URL"]
HEADERS = [(b"content-type", b"application/json")]


class Bare:
    """An ASGI application that does nothing but read an item."""

    def __init__(self) -> None:
        self._pool: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        item_id = int(scope["path"].rpartition("/")[2])
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT id, name, value FROM items WHERE id = $1", item_id
            )
        answer = {"id": row["id"], "name": row["name"], "value": json.loads(row["value"])}
        body = json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._pool = await asyncpg.create_pool(URL, min_size=10, max_size=20)
            else:
                await self._pool.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


bare = Bare()
framework = FastAPI()


@framework.get("/users/{user_id}")
async def read_user(user_id: int) -> UserRead:
    return UserRead(id=user_id, name="x", email="x@example.com")
