"""What the service needs around it on a developer's machine; no part of what is deployed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).parent.parent


def given(variable: str) -> str | None:
    """What the environment or `.env` says, which is used instead of a server of ours."""
    return os.environ.get(variable) or dotenv_values(ROOT / ".env").get(variable)


@contextmanager
def environment(*, fresh: bool = False) -> Iterator[dict[str, str]]:
    """The variables that lead to all of `dev.servers`, which run as long as the context lasts.
    `fresh` asks for empty data that is gone afterwards, as tests want it.
    """
    with ExitStack() as stack:
        variables: dict[str, str] = {}
        for path in sorted((ROOT / "dev" / "servers").glob("[!_]*.py")):
            serve = import_module(f"dev.servers.{path.stem}").serve
            variables |= stack.enter_context(serve(fresh))
        yield variables
