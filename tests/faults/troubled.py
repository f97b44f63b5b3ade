"""The service with routes that look into its process, or trouble it."""

import asyncio
import time

from app.main import app


async def tasks() -> int:
    return len(asyncio.all_tasks())


async def block(seconds: float) -> None:
    time.sleep(seconds)


async def jump(seconds: float) -> None:
    """The time of day is another one from now on."""
    clock = time.time
    time.time = lambda: clock() + seconds


app.add_api_route("/tasks", tasks, include_in_schema=False)
for trouble in (block, jump):
    path = f"/{trouble.__name__}/{{seconds}}"
    app.add_api_route(path, trouble, methods=["POST"], include_in_schema=False)
