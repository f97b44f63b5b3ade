"""What failed for a passing reason is run again, with backoff and jitter, in bounded time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Annotated, TypeVar

import stamina
from fastapi import Depends, Request
from pydantic import BaseModel, Field

from app.pools.base import Conflict, NotConnected, OutcomeUnknown, Unavailable

T = TypeVar("T")

# Whether a failure is a passing one; a number says how many seconds to wait at least.
Verdict = bool | float


class RetrySettings(BaseModel):
    """How work is run again."""

    attempts: int = Field(
        3,
        ge=1,
        description="How often a unit of work is begun in all. More than three multiply the load "
        "on a server that is in trouble.",
    )
    base_delay: float = Field(
        0.1,
        gt=0,
        description="Seconds that the first wait takes at most; each further one at most twice as "
        "long. Beyond a quarter it is left to chance, so that those that failed together do not "
        "come back together, nor while whom they met is still at work.",
    )


class Retry:
    """Runs work again, as often and as long as it is allowed."""

    def __init__(self, settings: RetrySettings, budget: float) -> None:
        self._settings = settings
        self._budget = budget

    async def __call__(
        self, work: Callable[[], Awaitable[T]], verdict: Callable[[Exception], Verdict]
    ) -> T:
        """The result of `work`, which has to be whole: a new session, the whole transaction.

        Raises what `work` raised last.
        """
        started = monotonic()
        try:
            return await work()  # so that work that succeeds pays for nothing
        except Exception as error:
            begun = 0

            def backoff(error: Exception) -> Verdict:
                nonlocal begun
                answer = verdict(error)
                begun += 1
                if answer is False or begun >= self._settings.attempts:
                    return False
                longest = self._settings.base_delay * 2 ** (begun - 1)
                shortest = float(answer is not True and answer)
                left = self._budget - (monotonic() - started)
                if shortest > left:
                    return False
                # The last attempt is at the end of the time, not before a wait that is too long.
                return max(shortest, min(random.uniform(longest / 4, longest), left))

            delay = backoff(error)
            if delay is False:
                raise
            await asyncio.sleep(delay)
        async for attempt in stamina.retry_context(on=backoff, attempts=None, timeout=None):
            with attempt:
                return await work()
        raise AssertionError("the last attempt returns or raises")

    async def transaction(self, work: Callable[[], Awaitable[T]], *, idempotent: bool = False) -> T:
        """The result of work in a database that may be run again from its beginning.

        After a conflict, and when the connection was lost before the COMMIT. When it was lost
        during the COMMIT nobody knows whether the work is stored: only what is `idempotent` is
        run again then. Not when no connection was free, which would make the queue longer, or could
        be opened: the pool has waited for that already.
        """
        return await self(work, is_unharmed_again if idempotent else is_not_stored)


def is_not_stored(error: Exception) -> bool:
    """Whether the work of a transaction is certain to have left nothing, and may succeed soon."""
    return isinstance(error, Conflict | Unavailable) and not isinstance(
        error, NotConnected | OutcomeUnknown
    )


def is_unharmed_again(error: Exception) -> bool:
    """The same of work that may be stored twice."""
    return isinstance(error, OutcomeUnknown) or is_not_stored(error)


async def retry(request: Request) -> Retry:
    retry: Retry = request.app.state.retry
    return retry


Retrying = Annotated[Retry, Depends(retry)]
