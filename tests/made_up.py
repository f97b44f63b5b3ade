"""Requests made up from a service's own description: whatever a client sends, nothing breaks."""

import subprocess
import sys
from pathlib import Path

# The description cannot say that PostgreSQL keeps no NUL characters, wherever they are; and
# /items/batch, where items are sent, is also the path of an item with an impossible id.
EXCLUDED = "positive_data_acceptance,unsupported_method"


def check(port: int, directory: Path, examples: int) -> None:
    """Fail if the service at `port` answers anything but what it says of itself, or with a 500.

    Each route has at least so many requests. What schemathesis keeps is put into `directory`.
    """
    __tracebackhide__ = True
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("run", f"http://127.0.0.1:{port}/openapi.json"),
            *(f"--max-examples={examples}", "--generation-deterministic", "--no-color"),
            f"--exclude-checks={EXCLUDED}",
        ],
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout
