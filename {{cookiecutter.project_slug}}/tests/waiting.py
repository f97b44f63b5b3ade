"""Wait for what only another process can tell."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 5) -> None:
    """Ask again and again until the answer is yes. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)


async def cancelled_at_each_step(
    prepare: Callable[[], Awaitable[object]], work: Callable[[], Coroutine[Any, Any, object]]
) -> list[asyncio.Task[object]]:
    """Begin the work again and again, each time cancelled a little later, until it comes through.

    Steps are turns of the event loop; a quarter more each time. As long as the tasks are kept, the
    garbage collector gives nothing back that they hold.
    """
    tasks: list[asyncio.Task[object]] = []
    steps = 0
    while not tasks or tasks[-1].cancelled():
        await prepare()
        tasks.append(asyncio.create_task(work()))
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[-1].cancel()
        await asyncio.wait({tasks[-1]})
        steps += 1 + steps // 4
    await tasks[-1]
    return tasks
