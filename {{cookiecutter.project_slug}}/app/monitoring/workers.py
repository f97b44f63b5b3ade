"""The figures of all workers, whichever of them is asked.

uvicorn hands each request to any of its workers, so that one alone would tell Prometheus now of
itself, now of another. Each worker answers the others on a socket; that of a dead one refuses.
"""

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from app import __title__

log = structlog.get_logger(__name__)

# Seconds that a worker has for its answer; Prometheus waits ten for all of them.
ANSWER_TIMEOUT = 2


class Figures(Collector):
    """Metrics that were collected already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def meeting_place() -> Path | None:
    """The directory with the sockets of this process's siblings, or None if it has none."""
    parent = multiprocessing.parent_process()
    return Path(tempfile.gettempdir()) / f"{__title__}-{parent.pid}" if parent else None


async def figures(registry: CollectorRegistry) -> Figures:
    """What all workers count, as of now; of several workers each sample has the label `worker`."""
    directory = meeting_place()
    if directory is None:
        return Figures(list(registry.collect()))
    sockets = sorted(directory.glob("*.sock"))
    texts = await asyncio.gather(*map(ask, sockets))
    merged: dict[str, Metric] = {}
    for socket, text in zip(sockets, texts, strict=True):
        for metric in text_string_to_metric_families(text):
            whole = merged.setdefault(
                metric.name, Metric(metric.name, metric.documentation, metric.type)
            )
            for sample in metric.samples:
                whole.add_sample(sample.name, sample.labels | {"worker": socket.stem}, sample.value)
    return Figures(merged.values())


async def ask(socket: Path) -> str:
    """What the worker at a socket counts; nothing if it is dead, or too busy to say."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                return (await reader.read()).decode()
            finally:
                writer.close()
    except TimeoutError:
        log.warning("a worker does not say what it counts", worker=socket.stem)
    except OSError:
        socket.unlink(missing_ok=True)  # noqa: ASYNC240 - instant, and no other way
    return ""


@asynccontextmanager
async def answering(registry: CollectorRegistry) -> AsyncIterator[None]:
    """Tell the other workers, if there are any, what this one counts."""
    directory = meeting_place()
    if directory is None:
        yield
        return

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(generate_latest(registry))
        writer.close()

    directory.mkdir(mode=0o700, exist_ok=True)
    socket = directory / f"{os.getpid()}.sock"
    async with await asyncio.start_unix_server(answer, socket):
        yield
    socket.unlink(missing_ok=True)
    with suppress(OSError):  # unless others are still there
        directory.rmdir()
