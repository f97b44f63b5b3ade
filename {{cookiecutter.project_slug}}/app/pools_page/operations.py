"""The page and what it draws; there is neither unless the settings say so."""

from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.pools_page.background import Feed

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def own(element: str) -> str:
    """The page's own script or style, as its policy names it: no other runs."""
    text = PAGE.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    return f"{element}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; connect-src 'self'; img-src data:; "
    f"{own('script')}; {own('style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


async def find(request: Request) -> Feed:
    feed: Feed | None = getattr(request.app.state, "pools_feed", None)
    if feed is None:
        raise HTTPException(404)
    return feed


router = APIRouter(prefix="/pools", include_in_schema=False, dependencies=[Depends(find)])


@router.get("")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE, headers=HEADERS)


@router.get("/events", response_class=EventSourceResponse)
async def events(feed: Annotated[Feed, Depends(find)]) -> AsyncIterator[ServerSentEvent]:
    async for readings in feed.follow():
        yield ServerSentEvent(raw_data=readings)
