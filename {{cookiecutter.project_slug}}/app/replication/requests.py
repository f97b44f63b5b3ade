"""Tell the client how far the log was after its write, and hear it again with its reads.

The answer to a write carries `X-Read-After` as a header and as a cookie. A request that brings
either is read on the primary until the replica has replayed that much.
"""

import math
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pools.replica import position

NAME = "X-Read-After"
LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


def given(scope: Scope) -> Iterator[str]:
    """What the request says in its header, and in its cookies, which may be in several."""
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        if name == NAME.lower().encode():
            yield text
        elif name == b"cookie" and NAME in text:
            yield cookie_parser(text).get(NAME, "")


class ReadAfter:
    def __init__(self, app: ASGIApp, max_age: int) -> None:
        self._app = app
        self._max_age = max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        positions = [position(lsn) for lsn in given(scope) if LSN.fullmatch(lsn)]
        state["read_after"] = max(positions, default=None)

        async def send_with_position(message: Message) -> None:
            written = state.get("written")
            if message["type"] == "http.response.start" and written is not None:
                lsn = f"{written >> 32:X}/{written & 0xFFFFFFFF:X}"
                headers = MutableHeaders(scope=message)
                headers[NAME] = lsn
                headers.append("Set-Cookie", self._cookie(lsn))
            await send(message)

        await self._app(scope, receive, send_with_position)

    def _cookie(self, lsn: str) -> str:
        cookie: SimpleCookie = SimpleCookie({NAME: lsn})
        cookie[NAME].update({"max-age": str(self._max_age), "path": "/", "samesite": "Lax"})
        cookie[NAME]["httponly"] = True
        return cookie[NAME].OutputString()


def install(app: FastAPI) -> None:
    # Twice as long as a replica that serves reads can be behind.
    max_age = math.ceil(2 * app.state.settings.replica.max_lag)
    app.add_middleware(ReadAfter, max_age=max_age)
