"""Code that writes where it should only read is refused by mypy."""

import os
import re
import subprocess
import sys
from pathlib import Path

from dev import ROOT

# mypy is to find the errors that the comments name, and no others.
CODE = """
from sqlalchemy import insert, select

from app.analytics.queries import user_figures
from app.analytics.reader import AnalyticsReader
from app.databases import Reader, UnitOfWork, Writer
from app.users.models import User
from app.users.queries import create_user, get_user
from app.users.schemas import UserCreate

new = UserCreate(name="x", email="x@example.com")


async def run(writer: Writer) -> User:
    return await writer.run(lambda session: create_user(session, new))


async def right(
    reader: Reader, writer: Writer, session: UnitOfWork, analytics: AnalyticsReader
) -> None:
    await get_user(reader, 1)
    await reader.all(select(User.id))
    await run(writer)
    await create_user(session, new)
    session.add(User())
    await user_figures(analytics)


async def wrong(reader: Reader, writer: Writer, analytics: AnalyticsReader) -> None:
    await reader.run(lambda session: create_user(session, new))  # error: attr-defined
    reader.add(User())  # error: attr-defined
    await reader.delete(User())  # error: attr-defined
    await reader.execute(insert(User))  # error: attr-defined
    await reader.commit()  # error: attr-defined
    await reader.all(insert(User).returning(User.id))  # error: arg-type
    await run(reader)  # error: arg-type
    await create_user(reader, new)  # error: arg-type
    await create_user(analytics, new)  # error: arg-type
    await run(analytics)  # error: arg-type
    await user_figures(reader)  # error: arg-type
    await get_user(analytics, 1)  # error: arg-type
    await get_user(writer, 1)  # error: arg-type
"""


def errors(file: Path) -> set[tuple[int, str]]:
    """Lines, from 1, and codes of mypy's errors, by the project's configuration."""
    # Where `make check` has its cache, it is used; a new one takes ten seconds.
    is_warm = "MYPY_CACHE_DIR" in os.environ or (ROOT / ".mypy_cache").is_dir()
    options = ["--no-pretty"] if is_warm else ["--no-pretty", f"--cache-dir={file.parent}"]
    mypy = [sys.executable, "-m", "mypy", *options, str(file)]
    output = subprocess.run(mypy, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    found = re.findall(rf"{file.name}:(\d+): error: .*\[(.+)\]$", output, re.MULTILINE)
    return {(int(line), code) for line, code in found}


def test_what_only_reads_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "reads_and_writes.py"
    file.write_text(CODE)
    lines = enumerate(CODE.splitlines(), 1)
    named = ((number, re.search(r"# error: (.+)$", line)) for number, line in lines)
    assert errors(file) == {(number, code[1]) for number, code in named if code}
