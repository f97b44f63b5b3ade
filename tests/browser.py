"""A real browser without a window: Chromium, driven by its DevTools protocol through pipes."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from running import PATIENCE

FLAGS = (
    "--headless",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # which root cannot have; only our own pages are opened
    "--remote-debugging-pipe",  # it reads commands from descriptor 3 and answers on 4
)


class Page:
    """A page of the browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._unread = b""
        self._number = 0
        self._session = ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: object) -> Any:
        """Give the browser a command and return its result."""
        self._number += 1
        command: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(message["params"]))
        assert "result" in message, f"{method}: {message}"
        return message["result"]

    def _next(self) -> Any:
        while b"\0" not in self._unread:
            assert select.select([self._answers], [], [], PATIENCE)[0], "the browser is silent"
            piece = os.read(self._answers, 1 << 20)
            assert piece, "the browser has ended"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Show this page, and return when it has been read."""
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, which has to fit into JSON."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of the expression, as soon as it is neither null nor false."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def screenshot(self) -> bytes:
        """What the page looks like, as PNG, all of its height."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])


def pipe() -> tuple[int, int]:
    """The ends of a new pipe, neither of them a descriptor that Chromium's own are put on."""
    ends = os.pipe()
    reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 5) for end in ends)
    for end in ends:
        os.close(end)
    return reads, writes


@contextmanager
def browser() -> Iterator[Page]:
    """An empty page of a new browser, of which nothing is left afterwards."""
    command = shutil.which("chromium")
    assert command, "install Chromium: apt-get install chromium"
    (reads, commands), (answers, writes) = pipe(), pipe()

    def put() -> None:
        os.dup2(reads, 3)
        os.dup2(writes, 4)

    with tempfile.TemporaryDirectory(
        prefix="chromium-", dir="/tmp", ignore_cleanup_errors=True
    ) as directory:
        process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={directory}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,  # Python's are closed without it, but not these two
            preexec_fn=put,
            start_new_session=True,
        )
        try:
            os.close(reads)
            os.close(writes)
            yield Page(commands, answers)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(commands)
            os.close(answers)
