"""A Prometheus with a project's own rules, in which each minute is a second."""

import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import yaml

from project import Project
from running import PATIENCE, Service, free_port, started, wait_for

# Half as often as the project's configuration says: scraping so fast is work.
SCRAPE_INTERVAL = "30s"


@dataclass(frozen=True)
class Prometheus(Service):
    """A Prometheus that knows its targets."""

    since: float = 0
    """From when on it does, in seconds since the epoch."""


def hastened(text: str) -> str:
    """A text whose durations are a sixtieth of what they were, so that a minute is a second."""
    milliseconds = {"s": 1000, "m": 60_000, "h": 3_600_000}

    def shorter(duration: re.Match[str]) -> str:
        return f"{int(duration[1]) * milliseconds[duration[2]] // 60}ms"

    return re.sub(r"\b(\d+)([smh])\b", shorter, text)


@contextmanager
def prometheus(project: Project, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """A Prometheus with the project's configuration and rules, hastened.

    The project's only job is done for each of `targets`, which are ports on loopback, by that name.
    """
    directory = project.path.with_name("prometheus")
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "alerts").mkdir(parents=True)
    for file in (project.path / "monitoring").glob("alerts/*.yml"):
        (directory / "alerts" / file.name).write_text(hastened(file.read_text()))
    config = yaml.safe_load(project.read("monitoring/prometheus.yml"))
    config["global"] = dict.fromkeys(config["global"], hastened(SCRAPE_INTERVAL))
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "service"
    config["scrape_configs"] = [
        job | {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        for name, target in targets.items()
    ]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = (
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--query.lookback-delta={hastened('5m')}",
    )
    with started(project, directory / "log", *command) as process:
        monitor = Prometheus(port, process)

        def is_ready() -> bool:
            with suppress(OSError):
                return monitor.call("GET", "/-/ready").status == 200
            return False

        wait_for(is_ready, "Prometheus", 2 * PATIENCE)
        # It finds its targets only after some seconds, and until then takes them for gone.
        wait_for(
            lambda: values(monitor, 'up{job="service"}') == [1], "the first scrape", 2 * PATIENCE
        )
        wait_for(lambda: not values(monitor, FIRING), "the end of the first alerts", 2 * PATIENCE)
        yield Prometheus(port, process, time.time())


FIRING = 'ALERTS{alertstate="firing"}'


def asked(monitor: Prometheus, path: str, **parameters: str) -> Any:
    answer = monitor.call("GET", f"/api/v1/{path}?{urlencode(parameters)}")
    assert answer.status == 200, answer.text
    return answer.json["data"]


def values(monitor: Prometheus, expression: str) -> list[float]:
    """The values of now, without those that are not a number."""
    series = asked(monitor, "query", query=expression)["result"]
    found = [float(each["value"][1]) for each in series]
    return [value for value in found if not math.isnan(value)]


def rules(monitor: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in asked(monitor, "rules")["groups"] for rule in group["rules"]]


def firing(monitor: Prometheus) -> set[tuple[str, str]]:
    """The alerts that fire now, and for which pool."""
    series = asked(monitor, "query", query=FIRING)["result"]
    return {(each["metric"]["alertname"], each["metric"].get("pool", "")) for each in series}


def fired(monitor: Prometheus, since: float | None = None) -> set[tuple[str, str]]:
    """The alerts that have fired since then, or ever, and for which pool.

    `since` is in seconds since the epoch.
    """
    milliseconds = round(1000 * (time.time() - (since or monitor.since)))
    expression = f"count by (alertname, pool) (count_over_time({FIRING}[{milliseconds}ms]))"
    series = asked(monitor, "query", query=expression)["result"]
    return {(each["metric"]["alertname"], each["metric"].get("pool", "")) for each in series}
