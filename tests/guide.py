"""The guide's links lead to the lines that hold what they quote: `python tests/guide.py`."""

import re

from working_tree import ROOT

GUIDE = ROOT / "docs" / "pooling.md"
SERVICE = "{{cookiecutter.project_slug}}"
# As an address has it.
DIRECTORY = "../%7B%7Bcookiecutter.project_slug%7D%7D/"
LINK = re.compile(r"\[`([^`]+)`\]\((?:\.\./[^/]+/)?(app/[^)#]+)(?:#L\d+)?\)")


def linked(text: str) -> str:
    """The text with each link at the one line that holds what it quotes.

    Raises ValueError where there is no such line, or more than one.
    """

    def link(match: re.Match[str]) -> str:
        code, path = match.groups()
        lines = (ROOT / SERVICE / path).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if code in line]
        if len(found) != 1:
            raise ValueError(f"{path} has {len(found)} lines with {code}")
        return f"[`{code}`]({DIRECTORY}{path}#L{found[0]})"

    return LINK.sub(link, text)


if __name__ == "__main__":
    GUIDE.write_text(linked(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
