"""Run the service with everything that it needs around it: `python -m dev [--reload]`.

Listens on PORT, by default 8000.
"""

import os
import re
import signal
import sys

import uvicorn

from app.main import create_app
from dev import environment

HOST = "127.0.0.1"


def interrupt(*_: object) -> None:
    """End as Ctrl-C does, so that every server around the service is stopped."""
    raise KeyboardInterrupt


def urls(port: int) -> list[str]:
    """The service's routes, with a value that works for each parameter."""
    operations = create_app().openapi()["paths"].items()
    return [
        f"  {method.upper():4} http://{HOST}:{port}{re.sub(r'{.*?}', '1', path)}"
        for path, methods in operations
        for method in methods
    ]


def main() -> None:
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    port = int(os.environ.get("PORT", "8000"))
    try:
        with environment() as variables:
            os.environ.update(variables)
            print(f"  GET  http://{HOST}:{port}/docs", *urls(port), sep="\n", flush=True)
            # No load balancer has to notice that it is reloaded.
            os.environ.setdefault("SHUTDOWN_GRACE", "2")
            reload = "--reload" in sys.argv
            os.environ["DEV_PARENT"] = str(os.getpid() if reload else os.getppid())
            uvicorn.run("dev.service:app", host=HOST, port=port, reload=reload)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
