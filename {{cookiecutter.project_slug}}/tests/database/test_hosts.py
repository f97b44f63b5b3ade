"""URLs that name several hosts, of which some are of no use."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr

from app.main import create_app
from app.pools import postgres
from app.pools.base import NotConnected, Service
from app.pools.postgres import Connections, DatabaseSettings
from app.settings import Settings
from dev.servers.postgres import server
from tests.database.proxy import Proxy
from tests.database.servers import directory_of, pg_ctl

IS_STANDBY = "SELECT pg_is_in_recovery()"


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silence:
        yield f"127.0.0.1:{silence.getsockname()[1]}"


@pytest.fixture
def primary(own_server: str) -> str:
    return str(directory_of(own_server))


@pytest.fixture(scope="module")
def standby() -> Iterator[str]:
    """A server that waits for a log to follow, and may be read from."""
    with server() as url:
        data = directory_of(url)
        (data / "standby.signal").touch()
        asyncio.run(pg_ctl(url, "restart", "--wait", "-o", f"-h '' -k {data}"))
        yield str(data)


@pytest.fixture
def hosts(silent: str, primary: str, standby: str) -> dict[str, str]:
    return {"silent": silent, "primary": primary, "standby": standby}


def host_of(proxy: Proxy) -> str:
    return proxy.url.partition("@")[2].partition("/")[0]


def connections(url: str) -> Connections:
    """Those of the service's first pool, for another database."""
    name, settings = next(
        (name, settings)
        for name, settings in Settings().pool_settings()
        if isinstance(settings, DatabaseSettings)
    )
    settings.url = SecretStr(url)
    return Connections(name, settings, Service("service", "0", 5, 1), 1, {})


@pytest.mark.parametrize(
    ("wanted", "listed", "is_standby"),
    [
        ("any", ["silent", "primary"], False),
        ("any", ["silent", "standby", "primary"], True),
        ("primary", ["silent", "standby", "primary"], False),
        ("standby", ["silent", "primary", "standby"], True),
        ("prefer-standby", ["silent", "primary", "standby"], True),
        ("prefer-standby", ["silent", "primary"], False),
    ],
)
async def test_a_silent_host_leaves_time_for_the_others(
    hosts: dict[str, str], wanted: str, listed: list[str], is_standby: bool
) -> None:
    url = f"postgresql://postgres@/postgres?target_session_attrs={wanted}&"
    opener = connections(url + "&".join(f"host={hosts[name]}" for name in listed))
    connection = await opener.connect()
    assert await connection.fetchval(IS_STANDBY) is is_standby
    await opener.close(1)


async def test_a_slow_host_has_its_time_when_the_others_will_not_do(
    primary: str, standby: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "BRIEFLY", 0.05)
    async with Proxy(f"postgresql://postgres@/postgres?host={primary}").run() as proxy:
        proxy.delay = 0.05
        url = "postgresql://postgres@/postgres?target_session_attrs=primary&sslmode=disable"
        opener = connections(f"{url}&host={host_of(proxy)}&host={standby}")
        connection = await opener.connect()
        assert await connection.fetchval(IS_STANDBY) is False
        await opener.close(1)


@pytest.mark.parametrize(
    "form",
    [
        lambda first, second: f"postgresql://postgres@{first},{second}/postgres",
        lambda first, second: (
            "postgresql://postgres@/postgres?host=127.0.0.1,127.0.0.1"
            f"&port={first.partition(':')[2]},{second.partition(':')[2]}"
        ),
    ],
    ids=["in front of the path", "with a list of ports"],
)
async def test_other_forms_of_urls(
    silent: str, primary: str, form: Callable[[str, str], str]
) -> None:
    async with Proxy(f"postgresql://postgres@/postgres?host={primary}").run() as proxy:
        opener = connections(form(silent, host_of(proxy)))
        connection = await opener.connect()
        assert await connection.fetchval(IS_STANDBY) is False
        await opener.close(1)


@pytest.mark.parametrize("listed", [["standby"], ["standby", "standby"]])
async def test_where_no_host_is_what_is_wanted(hosts: dict[str, str], listed: list[str]) -> None:
    url = "postgresql://postgres@/postgres?target_session_attrs=primary&"
    opener = connections(url + "&".join(f"host={hosts[name]}" for name in listed))
    with pytest.raises(NotConnected, match="'primary'"):
        await opener.connect()


async def test_all_hosts_together_have_the_time_to_connect(silent: str) -> None:
    opener = connections(f"postgresql://postgres@{silent},{silent},{silent}/postgres")
    opener.timeouts = opener.timeouts._replace(connect=0.2)
    started = asyncio.get_running_loop().time()
    with pytest.raises(NotConnected, match=r"not connected within 0\.2 s"):
        await opener.connect()
    assert 0.2 <= asyncio.get_running_loop().time() - started < 1


async def test_a_wrong_password_ends_the_search(hosts: dict[str, str]) -> None:
    """The others would refuse it too, each at the price of a try."""
    url = "postgresql://nobody@/postgres?"
    opener = connections(url + "&".join(f"host={hosts[name]}" for name in ("primary", "silent")))
    with pytest.raises(NotConnected, match="nobody"):
        await opener.connect()


async def test_the_service_is_ready_at_once(silent: str, primary: str) -> None:
    """What checks it has less time than a connection, and gets past the silence all the same."""
    settings = Settings()
    url = f"postgresql://postgres@/postgres?host={silent}&host={primary}"
    for _, pool in settings.pool_settings():
        if isinstance(pool, DatabaseSettings):
            pool.url = SecretStr(f"{url}&target_session_attrs=prefer-standby")
    async with LifespanManager(create_app(settings)) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answer = await client.get("/health/ready")
    assert set(answer.json()["pools"].values()) == {"up"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other options")
async def test_the_kernel_notices_a_server_that_is_gone(primary: str) -> None:
    async with Proxy(f"postgresql://postgres@/postgres?host={primary}").run() as proxy:
        opener = connections(proxy.url)
        connection = await opener.connect()
        kernel = connection._transport.get_extra_info("socket")
        assert kernel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
        await opener.close(1)
