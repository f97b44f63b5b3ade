"""Certificates are verified, whatever the upstream."""

# Goes with the examples.

import ssl
from pathlib import Path

import pytest
import trustme

from tests.external.conftest import Start
from tests.external.servers import Upstream


@pytest.mark.parametrize(
    ("names", "is_trusted", "status"),
    [
        (["localhost"], True, 200),
        (["evil.example"], True, 502),
        (["localhost"], False, 502),
    ],
    ids=["right", "wrong name", "wrong CA"],
)
async def test_only_the_right_certificate_is_accepted(
    start: Start, tmp_path: Path, names: list[str], is_trusted: bool, status: int
) -> None:
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    file = tmp_path / "ca.pem"
    (ca if is_trusted else other).cert_pem.write_to_path(file)
    upstream = Upstream()
    await upstream.server.start_server(ssl=context)
    try:
        url = upstream.url.replace("http:", "https:")
        async with start(url, ssl_ca=file) as service:
            answer = await service.client.get("/external/x")
            assert answer.status_code == status
            assert len(upstream.requests) == (status == 200)
            assert service.figures() == (0, 0)
        async with start(url) as service:  # which trusts the system's CAs only
            assert (await service.client.get("/external/x")).status_code == 502
            errors = service.pool.stats().errors
            assert errors == {"ClientConnectorCertificateError": 3}
    finally:
        await upstream.server.close()
