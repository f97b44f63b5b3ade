"""A small upstream on loopback, for `/external` and `/webhook`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dev import given


class Upstream(BaseHTTPRequestHandler):
    """Answers with JSON: `/missing` is not there, `/broken` fails, `/text` is no JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        resource = self.path.removeprefix("/")
        if resource == "missing":
            self.answer(404, {"error": "not found"})
        elif resource == "broken":
            self.answer(500, {"error": "broken"})
        elif resource == "text":
            self.answer(200, "not JSON", "text/plain")
        else:
            self.answer(200, {"resource": resource, "from": "the upstream"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        received = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(202, {"received": len(received)})

    def answer(self, status: int, content: object, media_type: str = "application/json") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the service logs its requests itself."""


@contextmanager
def serve(fresh: bool) -> Iterator[dict[str, str]]:
    """The upstream of AIOHTTP__BASE_URL where that is given, otherwise this one."""
    if given("AIOHTTP__BASE_URL") and not fresh:
        yield {}
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {
            "AIOHTTP__BASE_URL": url,
            "AIOHTTP__WEBHOOK_URL": f"{url}/webhook",
            "AIOHTTP__WEBHOOK_TOKEN": "development",
        }
    finally:
        server.shutdown()
        server.server_close()
