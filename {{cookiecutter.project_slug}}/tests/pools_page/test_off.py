"""Without POOLS_PAGE there is no page, and nobody looks at the pools for it."""

import asyncio

import httpx
import pytest


@pytest.mark.parametrize("path", ["/pools", "/pools/events"])
async def test_there_is_nothing_by_default(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == (await client.get("/nowhere")).json()
    assert not any("look" in str(task.get_coro()) for task in asyncio.all_tasks())
