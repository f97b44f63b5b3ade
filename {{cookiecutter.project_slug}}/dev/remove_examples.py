"""Remove the example routes with their tables and tests: `make remove-examples`, at the start.

Each file of theirs says that it goes with them, and no other is touched. The pools stay, and what
routes ask of them, health, the deadline, all that runs the service, and the tests of that.
"""

from pathlib import Path

from dev import ROOT

MARK = "Goes with the examples."
PLACES = ("app/*/*.py", "dev/samples/*.sql", "*/versions/*.py", "tests/**/*.py")


def is_example(file: Path) -> bool:
    lines = file.read_text(encoding="utf-8").splitlines()
    return any(line in (f"# {MARK}", f"-- {MARK}") for line in lines)


def main() -> None:
    examples = [file for place in PLACES for file in ROOT.glob(place) if is_example(file)]
    for file in examples:
        file.unlink()
    print(
        f"{len(examples)} files of the examples are gone; README.md still speaks of their routes."
    )


if __name__ == "__main__":
    main()
