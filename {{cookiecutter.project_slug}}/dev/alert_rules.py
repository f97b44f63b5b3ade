"""Write the alerts of `monitoring/alerts` as resources of the Prometheus operator."""

import textwrap
from pathlib import Path

from dev import ROOT

COMPONENTS = ROOT / "deploy" / "kubernetes" / "components"

HEAD = """\
# Written by `make rules` from monitoring/alerts/{name}.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
spec:
"""


def documents() -> dict[Path, str]:
    """What each file of rules has to be."""
    wanted = {}
    for source in sorted((ROOT / "monitoring" / "alerts").glob("*.yml")):
        name = source.stem
        directory = "monitoring" if name == "service" else f"monitoring-{name}"
        alerts = textwrap.indent(source.read_text(encoding="utf-8"), "  ")
        wanted[COMPONENTS / directory / "rules.yaml"] = HEAD.format(name=name) + alerts
    return wanted


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
