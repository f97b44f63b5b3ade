"""The bound that every pool of database connections stands behind."""

import asyncio
from contextlib import AbstractContextManager, nullcontext

import pytest
from opentelemetry import trace

from app.pools.base import PoolFull, PoolTimeout, Slots


async def test_waiters_are_served_in_the_order_they_came() -> None:
    slots = Slots("pool", size=1, max_waiting=3, timeout=10)
    served: list[int] = []

    async def waiter(number: int) -> None:
        await slots.wait()
        served.append(number)
        slots.give_back()

    assert slots.take()
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(waiter(number))
        await asyncio.sleep(0)
        assert slots.waiting == 3
        slots.give_back()
    assert served == [0, 1, 2]
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    slots = Slots("pool", size=1, max_waiting=1, timeout=10)
    slots.take()
    first = asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    with pytest.raises(PoolFull, match=r"^pool: "):
        await slots.wait()
    assert (slots.waiting, slots.rejected) == (1, 1)
    slots.give_back()
    await first


async def test_a_wait_ends_after_its_time() -> None:
    slots = Slots("pool", size=1, max_waiting=1, timeout=0.01)
    slots.take()
    with pytest.raises(PoolTimeout, match=r"^pool: .* 0\.01 s$"):
        await slots.wait()
    assert (slots.waiting, slots.timeouts, slots.taken) == (0, 1, 1)


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    slots = Slots("pool", size=1, max_waiting=2, timeout=10)
    slots.take()
    cancelled, patient = asyncio.create_task(slots.wait()), asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    slots.give_back()  # meets the cancelled one first
    await patient
    assert cancelled.cancelled() or cancelled.cancelling()
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_a_waiter_that_is_cancelled_while_it_is_served_passes_its_slot_on() -> None:
    slots = Slots("pool", size=1, max_waiting=2, timeout=10)
    slots.take()
    first, second = asyncio.create_task(slots.wait()), asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    slots.give_back()
    first.cancel()
    await second
    assert (slots.taken, slots.waiting) == (1, 0)


class Traced(trace.NonRecordingSpan):
    """The span of a request whose trace is taken."""

    def is_recording(self) -> bool:
        return True


@pytest.mark.parametrize("is_traced", [True, False])
async def test_only_who_waits_has_a_span_and_only_in_a_trace(
    is_traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class Tracer:
        def start_as_current_span(self, name: str, **_: object) -> AbstractContextManager[None]:
            begun.append(name)
            return nullcontext()

    monkeypatch.setattr("app.pools.base._tracer", Tracer())
    slots = Slots("pool", size=1, max_waiting=1, timeout=10)
    request = Traced if is_traced else trace.NonRecordingSpan
    with trace.use_span(request(trace.INVALID_SPAN_CONTEXT)):
        assert slots.take()
        assert begun == []
        waiting = asyncio.create_task(slots.wait())
        await asyncio.sleep(0)
        slots.give_back()
        await waiting
    assert begun == ["pool wait"] * is_traced


async def test_a_waiter_whose_time_is_over_as_it_is_cancelled_takes_no_slot() -> None:
    slots = Slots("pool", size=1, max_waiting=1, timeout=0)
    slots.take()
    waiting = asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    slots._look()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (slots.taken, slots.waiting) == (1, 0)
