"""Documents of which a part is written by what measures."""

from collections.abc import Mapping

from working_tree import ROOT


def documents(mark: str, sections: Mapping[str, str]) -> dict[str, str]:
    """Each document as it should be, with its section between the lines with this mark."""
    texts: dict[str, str] = {}
    for name, section in sections.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        before, begin, rest = text.partition(f"<!-- begin of {mark} -->\n")
        _, end, after = rest.partition(f"<!-- end of {mark} -->\n")
        if not begin or not end:
            raise SystemExit(f"{name} has no lines that say where its {mark} begin and end")
        texts[name] = f"{before}{begin}\n{section}\n\n{end}{after}"
    return texts
