"""The service with a route that says how many tasks there are, which no other tells."""

import asyncio

from app.main import create_app


async def tasks() -> int:
    return len(asyncio.all_tasks())


app = create_app()
app.add_api_route("/tasks", tasks)
