"""One deadline over everything a request does."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from time import monotonic
from typing import Any, TypeVar

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Leftovers:
    """Tasks whose result nobody waits for any longer, while they tidy up."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def leave(self, task: asyncio.Task[Any]) -> None:
        """Stop a task, and let it tidy up in the background."""
        task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("failed while tidying up", exc_info=error)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`.

        Raises TimeoutError after `seconds`, however long it then takes to tidy up.
        """
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            self.leave(task)
            raise
        if not done:
            self.leave(task)
            raise TimeoutError
        return task.result()

    async def settle(self, seconds: float) -> None:
        """Wait until all are done, for `seconds` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


class Limit:
    """A request's own deadline, which a route that needs longer may extend."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._started = monotonic()
        self.has_begun = False
        """Whether the response has, which is not cut in two."""
        self.is_over = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Comes with the deadline or with the end of the work, whichever is first."""

    def extend(self, seconds: float) -> None:
        self.seconds = max(self.seconds, seconds)

    def age(self) -> float:
        return monotonic() - self._started

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Deadline:
    """Answers 504 when the deadline has come, while the request's work is stopped behind it.

    The work runs in a task of its own, because stopping it can take long: a driver that is
    cancelled asks the server to stop and waits. A response that has begun is not cut in two.
    """

    def __init__(self, app: ASGIApp, seconds: float, leftovers: Leftovers) -> None:
        self._app = app
        self._seconds = seconds
        self._leftovers = leftovers
        # In the order in which the requests came; one timer, set for the first, is for all.
        self._limits: dict[Limit, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = scope.setdefault("state", {})["deadline"] = Limit(self._seconds)
        self._limits[limit] = None
        if self._timer is None:
            self._look_in(self._seconds)

        async def send_in_time(message: Message) -> None:
            if not limit.is_over:
                limit.has_begun = True
                await send(message)

        async def work() -> None:
            try:
                await self._app(scope, receive, send_in_time)
            finally:
                self._limits.pop(limit, None)
                limit.end()

        task = asyncio.create_task(work())
        try:
            await limit.ended
        except asyncio.CancelledError:
            self._leftovers.leave(task)
            raise
        if not limit.is_over:
            await task
            return
        self._leftovers.leave(task)
        answer = problem(504, f"No answer was ready within {limit.seconds:g} seconds.")
        await answer(scope, receive, send)

    def _look_in(self, seconds: float) -> None:
        # On behalf of no request, which the timer would keep.
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look, context=Context())

    def _look(self) -> None:
        self._timer = None
        while self._limits:
            limit = next(iter(self._limits))
            if (wait := self._seconds - limit.age()) > 0:
                self._look_in(wait)
                return
            del self._limits[limit]
            self._stop(limit)

    def _stop(self, limit: Limit) -> None:
        """End the wait for the answer, or look again later where the route has extended it."""
        if limit.has_begun or limit.ended.done():
            return
        if (left := limit.seconds - limit.age()) > 0:
            asyncio.get_running_loop().call_later(left, self._stop, limit, context=Context())
            return
        limit.is_over = True
        limit.end()
