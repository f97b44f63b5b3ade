"""The server's certificate is verified where that is asked for, and nobody else is trusted."""

# Goes with the examples.

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme
from fastapi import FastAPI
from pydantic import SecretStr

from app.pools.postgres import DatabaseSettings
from app.settings import Settings
from tests.database.fixtures import hasty
from tests.database.load import reads
from tests.database.servers import directory_of

__all__ = ["hasty"]

# What a client of PostgreSQL begins with when it wants TLS.
TLS_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_server(own_server: str, authority: trustme.CA) -> AsyncIterator[int]:
    """The port of a server that speaks to nobody without TLS; its certificate is `localhost`'s.

    The TLS is Python's, as the PostgreSQL of the tests is built without.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    socket = directory_of(own_server) / ".s.PGSQL.5432"

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client hangs up after a certificate that it does not trust.
        with suppress(OSError, EOFError):
            if await reader.readexactly(len(TLS_REQUEST)) == TLS_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                from_server, to_server = await asyncio.open_unix_connection(socket)
                await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file with the CA that the service trusts."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


def settings_for(url: str, ca: Path | None = None) -> Settings:
    settings = Settings()
    for _, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings):
            pool.url = SecretStr(url)
            pool.ssl_ca = ca
    return settings


class TestTrusted:
    @pytest.fixture(params=["setting", "URL"])
    def settings(self, request: pytest.FixtureRequest, tls_server: int, trusted: Path) -> Settings:
        url = f"postgresql://postgres@localhost:{tls_server}/postgres"
        if request.param == "setting":
            return settings_for(url, trusted)
        return settings_for(f"{url}?sslmode=verify-full&sslrootcert={trusted}")

    async def test_it_is_spoken_to(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        for path in reads(app):
            assert (await client.get(path)).status_code == 200


@pytest.mark.usefixtures("hasty")
class TestNotTrusted:
    @pytest.fixture(params=["signed by another", "for another host"])
    def settings(self, request: pytest.FixtureRequest, tls_server: int, trusted: Path) -> Settings:
        if request.param == "for another host":
            return settings_for(f"postgresql://postgres@127.0.0.1:{tls_server}/postgres", trusted)
        trustme.CA().cert_pem.write_to_path(trusted)
        return settings_for(f"postgresql://postgres@localhost:{tls_server}/postgres", trusted)

    async def test_it_is_refused(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        for path in reads(app):
            assert (await client.get(path)).status_code == 503
        assert (await client.get("/health/ready")).status_code == 503
