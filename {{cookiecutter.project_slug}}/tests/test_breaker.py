"""While the server is away: who waits, who is refused at once, and how often it is asked."""

import asyncio
from time import monotonic

import pytest

from app.pools import breaker
from app.pools.base import Contended, NotConnected, PoolError, Refused, Silent
from app.pools.breaker import Breaker
from tests.waiting import until

AWAY = NotConnected("pool", "refused")


class Server:
    """Is there, or away for a reason; counts how often it is asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[float] = []
        self.at_once = 0
        self.most_at_once = 0

    async def probe(self, _: float) -> None:
        self.asked.append(monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if self.error:
            raise self.error


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_EVERY", 0.05)
    monkeypatch.setattr(breaker, "JITTER", 0.01)


async def test_a_server_that_is_there_is_not_asked(server: Server) -> None:
    closed = Breaker("pool", server.probe)
    await closed.wait("pool", 10)
    assert server.asked == []


async def test_a_lost_connection_is_a_reason_to_ask_once(server: Server) -> None:
    tripped = Breaker("pool", server.probe)
    tripped.connected()
    for _ in range(20):
        tripped.trip()
    await asyncio.gather(*(tripped.wait("pool", 10) for _ in range(20)))
    assert len(server.asked) == 1
    assert not tripped.is_tripped


async def test_a_restart_is_waited_out(server: Server) -> None:
    tripped = Breaker("pool", server.probe)
    tripped.connected()
    server.error = AWAY
    tripped.trip(AWAY)
    waiting = [asyncio.create_task(tripped.wait("pool", 10)) for _ in range(20)]
    await until(lambda: len(server.asked) > 2)
    assert not any(each.done() for each in waiting)
    server.error = None
    await asyncio.gather(*waiting)
    assert server.most_at_once == 1
    pauses = [second - first for first, second in zip(server.asked, server.asked[1:], strict=False)]
    assert min(pauses) >= 0.05


async def test_after_patience_each_is_refused_at_once(server: Server) -> None:
    tripped = Breaker("pool", server.probe)
    tripped.connected()
    server.error = AWAY
    tripped.trip(AWAY)
    for _ in range(2):
        with pytest.raises(NotConnected, match="pool: refused"):
            await tripped.wait("pool", 0.1)
        asked = len(server.asked)
    with pytest.raises(NotConnected):
        tripped.check("pool", 0.1)
    assert len(server.asked) == asked  # nobody else's asking
    await tripped.stop()


@pytest.mark.parametrize("was_connected", [True, False])
async def test_what_does_not_pass_is_not_waited_for(server: Server, was_connected: bool) -> None:
    """Nor what has never been there."""
    tripped = Breaker("pool", server.probe)
    server.error = Silent("pool", "no answer") if was_connected else AWAY
    if was_connected:
        tripped.connected()
    tripped.trip()
    with pytest.raises(type(server.error)):
        await tripped.wait("pool", 60)
    assert len(server.asked) == 1
    server.error = None
    await until(lambda: not tripped.is_tripped)
    await tripped.wait("pool", 60)


async def test_a_breaker_that_was_stopped_asks_no_more(server: Server) -> None:
    tripped = Breaker("pool", server.probe)
    server.error = AWAY
    tripped.trip()
    await until(lambda: len(server.asked) > 1)
    await tripped.stop()
    tripped.trip()
    asked = len(server.asked)
    await asyncio.sleep(2 * breaker.PROBE_EVERY)  # nothing is to come, which cannot be awaited
    assert len(server.asked) == asked


@pytest.mark.parametrize("kind", [Refused, Contended])
async def test_who_has_a_connection_to_wait_for_may_wait(
    server: Server, kind: type[PoolError]
) -> None:
    """The server is there, and lets no more in."""
    tripped = Breaker("pool", server.probe)
    server.error = kind("pool", "no more")
    tripped.trip(server.error)
    tripped.check("pool", 60)
    with pytest.raises(kind):
        await tripped.wait("pool", 60)
    await tripped.stop()


async def test_a_probe_that_breaks_is_not_the_last(server: Server) -> None:
    broken = Breaker("pool", server.probe)
    server.error = ValueError("a mistake")
    broken.trip()
    with pytest.raises(NotConnected, match="ValueError"):
        await broken.wait("pool", 0)
    server.error = None
    await until(lambda: not broken.is_tripped)


async def test_who_shares_it_has_a_patience_and_a_name_of_his_own(server: Server) -> None:
    shared = Breaker("pool", server.probe)
    shared.connected()
    server.error = AWAY
    shared.trip(AWAY)
    patient = asyncio.create_task(shared.wait("other", 60))
    with pytest.raises(NotConnected, match="hasty: refused"):
        await shared.wait("hasty", 0)
    assert not patient.done()
    server.error = None
    await patient
