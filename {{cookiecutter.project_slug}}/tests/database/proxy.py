"""A proxy in front of PostgreSQL that counts round trips, delays them, or falls silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Passes bytes on between clients and the server of `url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.delay = 0.0
        """Seconds by which each message is late, in each direction."""
        self.round_trips = 0
        """How often a client spoke after the server had answered."""
        self.lose_answer_to: bytes | None = None
        """Break the connection instead of passing the answer to such a message on."""
        self.hides_hang_ups = False
        """Keep connections to clients whose server has hung up."""
        self.held = 0
        """How many messages of clients came while nothing was passed on."""
        self._is_silent = False
        self._gates: set[asyncio.Event] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        user, _, _ = self._target.netloc.rpartition("@")
        netloc = f"{user}@127.0.0.1:{self._port}" if user else f"127.0.0.1:{self._port}"
        return self._target._replace(netloc=netloc, query="sslmode=disable").geturl()

    def fall_silent(self) -> None:
        """Accept and keep connections, and pass nothing on any more."""
        self._is_silent = True
        self.silence_open_connections()

    def silence_open_connections(self) -> None:
        """Pass nothing on any more for those that are open; new ones work."""
        for gate in self._gates:
            gate.clear()

    def speak(self) -> None:
        self._is_silent = False
        for gate in self._gates:
            gate.set()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def go_away(self) -> None:
        """Break all connections and refuse new ones."""
        assert self._server is not None
        self._server.close()
        self._server = None
        self.cut()

    async def come_back(self) -> None:
        """Listen where it listened before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Proxy"]:
        await self.come_back()
        yield self
        self.speak()
        if self._server:
            self.go_away()
        await asyncio.gather(*self._tasks)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self._target
        if hosts := parse_qs(target.query).get("host"):
            return await asyncio.open_unix_connection(f"{hosts[0]}/.s.PGSQL.{target.port or 5432}")
        return await asyncio.open_connection(target.hostname, target.port or 5432)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_reader, server_writer = await self._connect()
        self._writers |= {writer, server_writer}
        has_answered = True
        loses_answer = False
        gate = asyncio.Event()
        self._gates.add(gate)
        if not self._is_silent:
            gate.set()

        async def pass_on(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_client: bool
        ) -> None:
            nonlocal has_answered, loses_answer
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    self.held += is_client and not gate.is_set()
                    await gate.wait()
                    if is_client and has_answered:
                        self.round_trips += 1
                    has_answered = not is_client
                    lost = self.lose_answer_to
                    if is_client and lost and lost in data:
                        loses_answer = True
                    elif loses_answer:
                        writer.transport.abort()
                        return
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    sink.write(data)
                    await sink.drain()
            if is_client or not self.hides_hang_ups:
                sink.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, server_writer, True))
                group.create_task(pass_on(server_reader, writer, False))
        finally:
            writer.close()
            self._writers -= {writer, server_writer}
            self._gates.remove(gate)
