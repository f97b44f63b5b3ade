"""Remove the example routes with their tables and tests: `make remove-examples`, at the start.

The pools stay, and what routes ask of them, health, the deadline, all that runs the service, and
the tests of that. Tests that need a route say so in a comment, and go with the examples.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from dev import ROOT

PARTS = ("client", "models", "queries", "routes", "schemas")
MARK = "# Needs the examples.\n"


def examples() -> Iterator[Path]:
    """Files and directories that there are only for the examples."""
    for package in {routes.parent for routes in (ROOT / "app").glob("*/routes.py")}:
        parts = [package / f"{part}.py" for part in PARTS]
        others = [file for file in package.glob("*.py") if file.stem not in (*PARTS, "__init__")]
        yield from (part for part in parts if part.exists()) if others else [package]
        yield ROOT / "tests" / package.name
    yield ROOT / "dev" / "samples"
    yield from ROOT.glob("*/versions/*.py")  # what changes the tables
    for test in (ROOT / "tests").rglob("*.py"):
        if MARK in test.read_text(encoding="utf-8"):
            yield test


def main() -> None:
    for path in [*examples(), Path(__file__)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print("The examples are gone. README.md still speaks of their routes.")


if __name__ == "__main__":
    main()
