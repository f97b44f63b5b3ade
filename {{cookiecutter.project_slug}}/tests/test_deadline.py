"""One deadline over everything that a request does."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from app.deadline import Leftovers
from app.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings(request_deadline=0.2)


async def test_the_answer_comes_at_the_deadline_and_not_after_tidying_up(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    has_tidied_up = asyncio.Event()
    may_tidy_up = asyncio.Event()

    @app.get("/stuck")
    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_tidy_up.wait()
            has_tidied_up.set()

    answer = await client.get("/stuck")
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "No answer was ready within 0.2 seconds."
    assert not has_tidied_up.is_set()
    may_tidy_up.set()
    await app.state.leftovers.settle(5)
    assert has_tidied_up.is_set()


async def test_each_request_has_a_deadline_of_its_own_which_its_route_may_extend(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    has_begun = asyncio.Event()
    ends: list[float] = []

    @app.get("/stuck/{seconds}")
    async def stuck(request: Request, seconds: float) -> None:
        request.state.deadline.extend(seconds)
        has_begun.set()
        await asyncio.Event().wait()

    async def ask(seconds: float) -> None:
        asked = monotonic()
        answer = await client.get(f"/stuck/{seconds}")
        assert answer.json()["detail"] == f"No answer was ready within {seconds:g} seconds."
        assert monotonic() - asked >= seconds
        ends.append(seconds)

    async with asyncio.TaskGroup() as clients:
        for seconds in (0.6, 0.2, 0.5, 0.2):
            clients.create_task(ask(seconds))
            await has_begun.wait()
            has_begun.clear()
    assert ends == [0.2, 0.2, 0.5, 0.6]


async def test_a_response_that_has_begun_is_not_cut(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begin "
            begun = monotonic()
            while monotonic() - begun < 0.4:
                await asyncio.sleep(0.05)
                yield b"."
            yield b" end"

        return StreamingResponse(parts())

    answer = await client.get("/stream")
    assert answer.status_code == 200
    assert answer.text.startswith("begin ")
    assert answer.text.endswith(" end")


async def test_a_client_that_leaves_stops_the_work(app: FastAPI, client: httpx.AsyncClient) -> None:
    has_begun, was_stopped = asyncio.Event(), asyncio.Event()

    @app.get("/stuck")
    async def stuck() -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_stopped.set()

    request = asyncio.create_task(client.get("/stuck"))
    await has_begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.wait_for(was_stopped.wait(), 5)


async def test_within_gives_the_result_or_the_error_of_the_work() -> None:
    leftovers = Leftovers()

    async def work(fails: bool) -> str:
        if fails:
            raise ValueError("no")
        return "yes"

    assert await leftovers.within(5, work(fails=False)) == "yes"
    with pytest.raises(ValueError, match="no"):
        await leftovers.within(5, work(fails=True))
