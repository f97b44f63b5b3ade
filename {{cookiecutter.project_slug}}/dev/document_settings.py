"""Write the settings' tables in README.md and .env.example from the settings' classes.

Between the lines `settings: NAME` and `end of NAME` of both files stand the settings of the pool
NAME, or those of the service itself.
"""

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.settings import Settings
from dev import ROOT


class Setting(NamedTuple):
    section: str
    variable: str
    field: FieldInfo

    @property
    def default(self) -> str:
        default = self.field.default
        return "" if default is None or self.field.is_required() else str(default)

    @property
    def example(self) -> str:
        return str(self.field.examples[0]) if self.field.examples else self.default

    @property
    def description(self) -> str:
        return self.field.description or ""


def settings_of(model: type[BaseModel], section: str = "") -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, name)
        else:
            variable = f"{section}__{name}" if section else name
            extra = field.json_schema_extra
            own = str(extra["section"]) if isinstance(extra, dict) else "service"
            yield Setting(section or own, variable.upper(), field)


def table(settings: list[Setting]) -> str:
    rows = [
        f"| `{setting.variable}` | {f'`{setting.default}`' if setting.default else ''} "
        f"| {setting.description} |\n"
        for setting in settings
    ]
    return "| variable | default | what it is, and why |\n|---|---|---|\n" + "".join(rows)


def example(settings: list[Setting]) -> str:
    def comment(setting: Setting) -> str:
        return textwrap.fill(setting.description, 98, initial_indent="# ", subsequent_indent="# ")

    entries = [
        f"{comment(setting)}\n# {setting.variable}={setting.example}\n" for setting in settings
    ]
    return "\n".join(entries)


def written(path: Path, mark: str, render: Callable[[list[Setting]], str]) -> str:
    """The file's text with every section anew. Raises ValueError where a section is missing."""
    text = path.read_text(encoding="utf-8")
    sections: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings_of(Settings):
        sections[setting.section].append(setting)
    for name, settings in sections.items():
        begin, end = mark.format(f"settings: {name}"), mark.format(f"end of {name}")
        if begin not in text or end not in text:
            raise ValueError(f"{path.name} has no lines {begin!r} and {end!r}: add them")
        before, _, rest = text.partition(f"{begin}\n")
        _, _, after = rest.partition(f"{end}\n")
        text = f"{before}{begin}\n{render(settings)}{end}\n{after}"
    return text


def documents() -> dict[Path, str]:
    """The two files, and what they should hold."""
    readme, env = ROOT / "README.md", ROOT / ".env.example"
    return {
        readme: written(readme, "<!-- {} -->", table),
        env: written(env, "# {}", example),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
