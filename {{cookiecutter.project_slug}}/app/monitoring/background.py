"""What monitoring does beside requests."""

from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from app.monitoring import workers


def running(app: FastAPI) -> AbstractAsyncContextManager[None]:
    return workers.answering(app.state.registry)
