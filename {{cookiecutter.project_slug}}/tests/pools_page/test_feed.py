"""What the pages that are open are told."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from app.pools_page import background
from app.pools_page.background import Feed


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setattr(background, "KEPT", 3)
    return Feed()


async def told(follower: AsyncIterator[str]) -> object:
    async with asyncio.timeout(5):
        return json.loads(await anext(follower))


async def test_who_comes_late_is_told_what_is_kept(feed: Feed) -> None:
    for reading in range(5):
        feed.add(reading)
    follower = feed.follow()
    assert await told(follower) == [2, 3, 4]
    asyncio.get_running_loop().call_soon(feed.add, 5)
    assert await told(follower) == [5]


async def test_who_is_slow_misses_what_is_kept_no_more(feed: Feed) -> None:
    feed.add(0)
    follower = feed.follow()
    assert await told(follower) == [0]
    feed.add(1)
    feed.add(2)
    assert await told(follower) == [1, 2]
    for reading in range(3, 9):
        feed.add(reading)
    assert await told(follower) == [6, 7, 8]
