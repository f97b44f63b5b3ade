"""The service with a route that never answers, to be run as a process."""

import asyncio

from app.main import create_app

app = create_app()


@app.get("/stuck")
async def stuck() -> None:
    await asyncio.Event().wait()
