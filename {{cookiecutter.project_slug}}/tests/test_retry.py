"""What is run again, how often, and for how long."""

import asyncio
import random
from time import monotonic

import pytest

from app.pools.base import (
    Conflict,
    Contended,
    NotConnected,
    OutcomeUnknown,
    PoolError,
    PoolFull,
    PoolTimeout,
    TimedOut,
    Unavailable,
)
from app.retry import Retry, RetrySettings


class Work:
    """Fails with each of the errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.begun = 0

    async def __call__(self) -> str:
        self.begun += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def retry(attempts: int = 3, base_delay: float = 0.001, budget: float = 5) -> Retry:
    return Retry(RetrySettings(attempts=attempts, base_delay=base_delay), budget)


@pytest.mark.parametrize("kind", [Conflict, Unavailable])
async def test_what_passes_is_run_again(kind: type[PoolError]) -> None:
    work = Work(kind("pool", "1"), kind("pool", "2"))
    assert await retry().transaction(work) == "done"
    assert work.begun == 3


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout("pool", "none free"),
        PoolFull("pool", "full"),
        Contended("pool", "locked"),
        NotConnected("pool", "refused"),
        TimedOut("pool", "slow"),
        ValueError("a mistake"),
    ],
)
async def test_what_does_not_pass_is_not(error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        await retry().transaction(work, idempotent=True)
    assert work.begun == 1


@pytest.mark.parametrize("idempotent", [True, False])
async def test_what_may_be_stored_already_is_run_again_only_if_that_does_no_harm(
    idempotent: bool,
) -> None:
    work = Work(OutcomeUnknown("pool", "no answer to COMMIT"))
    if idempotent:
        assert await retry().transaction(work, idempotent=True) == "done"
    else:
        with pytest.raises(OutcomeUnknown):
            await retry().transaction(work)
    assert work.begun == 1 + idempotent


async def test_the_number_of_attempts_is_bounded_and_the_last_error_is_raised() -> None:
    work = Work(*(Conflict("pool", str(number)) for number in range(1, 10)))
    with pytest.raises(Conflict, match="3"):
        await retry(attempts=3).transaction(work)
    assert work.begun == 3


async def test_the_last_attempt_is_at_the_end_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, high: high)
    work = Work(Conflict("pool", "again"))
    started = monotonic()
    assert await retry(base_delay=100, budget=0.2).transaction(work) == "done"
    assert 0.1 < monotonic() - started < 10


async def test_waits_are_left_to_chance_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    work = Work(*(Conflict("pool", "again") for _ in range(4)))
    await retry(attempts=5, base_delay=0.1).transaction(work)
    assert asked == [(0.025, 0.1), (0.05, 0.2), (0.1, 0.4), (0.2, 0.8)]


async def test_a_verdict_may_ask_for_a_longer_wait() -> None:
    work = Work(ValueError("later"))
    started = monotonic()
    assert await retry()(work, lambda error: 0.1) == "done"
    assert monotonic() - started >= 0.1


async def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    work = Work(ValueError("much later"))
    started = monotonic()
    with pytest.raises(ValueError, match="much later"):
        await retry(budget=1)(work, lambda error: 30.0)
    assert monotonic() - started < 10


async def test_what_is_cancelled_is_not_run_again() -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(retry().transaction(work, idempotent=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert begun == 1
