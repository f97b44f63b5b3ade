"""What the packages beside this file bring: routes, a part in each request, background work."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType


def modules(name: str) -> Iterator[ModuleType]:
    """Those of this name in the packages beside this file, in alphabetical order."""
    for path in sorted(Path(__file__).parent.glob(f"*/{name}.py")):
        yield import_module(f"app.{path.parent.name}.{name}")
