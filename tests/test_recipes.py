"""What the generated README says about adding something, done to the letter."""

import re

import pytest

from combinations import EVERYTHING
from project import Project
from running import servers, serving
from test_services import Install, install, workshop

__all__ = ["install", "workshop"]

pytestmark = [pytest.mark.services, pytest.mark.posix]

FILE = re.compile(r"^```python\n# (app/\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"give `Settings` the field `(\w+): (\w+) = (.+?)`")

IMPORTS = "from app.pools import (\n"
PRIMARY = "    primary: sqlalchemy_pool.SQLAlchemySettings = sqlalchemy_pool.SQLAlchemySettings()\n"

# A route that uses what was added.
ROUTE = """\
\"\"\"What the ledger's server says of itself.\"\"\"

from fastapi import APIRouter
from sqlalchemy import String, func, select

from app.pools.ledger import LedgerPool

router = APIRouter(prefix="/ledger", tags=["ledger"])


@router.get("/names")
async def names(ledger: LedgerPool) -> list[str]:
    setting = func.current_setting("application_name", type_=String)
    [read] = await ledger.rows(select(setting))
    async with ledger.unit_of_work() as session:
        written = (await session.execute(select(setting))).scalar_one()
    return [read[0], written]
"""


def test_a_database_is_added(install: Install) -> None:
    installed = install(**EVERYTHING)
    project = installed.project
    [(path, text)] = FILE.findall(project.read("README.md"))
    write(project, path, text)
    write(project, "app/ledger/__init__.py", '"""The ledger."""\n')
    write(project, "app/ledger/routes.py", ROUTE)
    [(name, kind, value)] = FIELD.findall(project.read("README.md"))
    change(project, "app/settings.py", IMPORTS, f"from app.pools.{name} import {kind}\n{IMPORTS}")
    change(project, "app/settings.py", PRIMARY, f"{PRIMARY}    {name}: {kind} = {value}\n")
    for file, line in (("README.md", "<!-- {} -->\n"), (".env.example", "# {}\n")):
        marks = line.format(f"settings: {name}") + line.format(f"end of {name}")
        write(project, file, f"{project.read(file)}\n{marks}")
    project.run("make", "settings")
    project.run("make", "fix")
    installed.check()
    with (
        servers(project, installed.python) as variables,
        serving(project, installed.python, variables) as service,
    ):
        assert service.call("GET", "/ledger/names").json == [f"pooled-service/{name}"] * 2
        assert service.call("GET", "/users/1").status == 200
        assert service.call("GET", "/health/ready").json["pools"][name] == "up"


def write(project: Project, file: str, text: str) -> None:
    path = project.path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def change(project: Project, file: str, old: str, new: str) -> None:
    text = project.read(file)
    assert text.count(old) == 1
    write(project, file, text.replace(old, new))
