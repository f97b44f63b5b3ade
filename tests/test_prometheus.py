"""What monitoring/ holds, on a real Prometheus, in which each minute is a second."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from combinations import EVERYTHING, TOGGLES, label
from conftest import Bake
from monitor import (
    Prometheus,
    asked,
    fired,
    hastened,
    prometheus,
    rules,
    values,
)
from project import Project
from running import PATIENCE, Service, free_port, servers, started, used, wait_for
from test_services import Install, Installed, install, workshop

__all__ = ["install", "workshop"]

pytestmark = pytest.mark.posix

MIXES = [
    dict.fromkeys(TOGGLES, False) | {"sqlalchemy_pool": True, "monitoring": True},
    dict.fromkeys(TOGGLES, False) | {"aiohttp_pool": True, "monitoring": True},
    EVERYTHING,
]

LONG = 2 * PATIENCE

# The service while all is well: small pools, as all of them share one server.
HEALTHY = {
    "INSTANCES": "2",
    "PRIMARY__POOL_SIZE": "5",
    "REPLICA__POOL_SIZE": "5",
    "ANALYTICS__POOL_SIZE": "2",
    "ASYNCPG__MIN_SIZE": "1",
    "ASYNCPG__MAX_SIZE": "5",
}
# And where little is needed for too much.
FRAIL = {
    "INSTANCES": "100",
    "PRIMARY__POOL_SIZE": "4",
    "PRIMARY__MAX_WAITING": "4",
    "PRIMARY__POOL_TIMEOUT": "1",
    "PRIMARY__LEAK_THRESHOLD": "0.5",
    "ASYNCPG__MIN_SIZE": "1",
    "ASYNCPG__MAX_SIZE": "2",
    "AIOHTTP__LIMIT": "2",
}

LOAD = ["GET /users/1", "GET /items/1", "GET /external/a", "GET /analytics/users"]
OVERLOAD = (
    12 * ["GET /users/1"] + 2 * ["GET /items/1"] + 6 * ["GET /external/a"] + ["GET /health/ready"]
)

# What fires, and for which pool, in each part of the test.
WHEN_STOPPED = {("ServiceDown", ""), ("InstanceDown", "")}
WHEN_OVERLOADED = {
    ("PoolSaturated", "primary"),
    ("PoolWaitHigh", "primary"),
    ("PoolTimeouts", "primary"),
    ("PoolRejections", "primary"),
    ("ConnectionLeak", "primary"),
    ("ConnectionChurn", "asyncpg"),
    ("ConnectionBudgetExceeded", "primary"),
    ("PoolFiguresImpossible", "invented"),
    ("HttpPoolSaturated", "aiohttp"),
    ("HttpPoolWaitHigh", "aiohttp"),
    ("ServiceErrors", ""),
    ("ServiceSlow", ""),
}
WHEN_CUT_OFF = {
    ("DatabaseUnreachable", "primary"),
    ("DatabaseUnreachable", "asyncpg"),
    ("HttpPoolErrors", "aiohttp"),
    ("ServiceNotReady", ""),
}

# Runs in the project: keeps readers of one table waiting, and closes the connections of one pool.
FAULTS = """
import asyncio, asyncpg, os

async def lock():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    while True:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users")
            await asyncio.sleep(1.4)

async def kill():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    while True:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE '%/asyncpg'"
        )
        await asyncio.sleep(0.2)

async def main():
    await asyncio.gather(lock(), kill())

asyncio.run(main())
"""


def promtool(*arguments: str, directory: Path) -> None:
    __tracebackhide__ = True
    assert shutil.which("promtool"), "install Prometheus: apt-get install prometheus"
    ran = subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("answers", MIXES, ids=label)
def test_the_rules_by_their_own_tests(bake: Bake, answers: Mapping[str, bool]) -> None:
    monitoring = bake(**answers).path / "monitoring"
    promtool("check", "config", "prometheus.yml", directory=monitoring)
    rules = sorted(path.name for path in monitoring.glob("alerts/*.yml"))
    assert rules == sorted(path.name for path in monitoring.glob("alerts_test/*.yml"))
    promtool("test", "rules", *rules, directory=monitoring / "alerts_test")


@pytest.mark.services
def test_alerts_dashboards_and_readme_on_a_real_service(install: Install) -> None:
    installed = install(**EVERYTHING)
    project = installed.project
    port = free_port()
    with (
        upstream() as behind,
        servers(project, installed.python) as variables,
        ExitStack() as stack,
    ):
        url = variables["DATABASE_URL"]
        replicas = {"REPLICA__URL": url, "ANALYTICS__URL": url}
        variables |= {"AIOHTTP__BASE_URL": behind.url, "AIOHTTP__WEBHOOK_URL": behind.url}
        with service(installed, port, variables | replicas | HEALTHY) as healthy:
            targets = {"service": port, "invented": behind.server_port}
            monitor = stack.enter_context(prometheus(project, targets))
            with used(healthy, LOAD, 0.05) as statuses:
                pools = 'count({__name__=~"db_pool_size|http_pool_limit",job="service"})'
                wait_for(lambda: values(monitor, pools) == [5], "the figures of all pools")
                wait_for(lambda: statuses.total() > 100, "some requests")
            assert statuses.keys() == {200}
            assert {rule["health"] for rule in rules(monitor)} == {"ok"}
        wait_for(lambda: fired(monitor) >= WHEN_STOPPED, "the alerts of a stopped service", LONG)
        assert fired(monitor) == WHEN_STOPPED

        behind.is_slow = behind.invents = True
        with service(installed, port, variables | FRAIL) as frail, used(frail, OVERLOAD, 0.1):
            log = project.path.with_name("faults.log")
            with started(project, log, installed.python, "-c", FAULTS, variables=variables):
                wait_for(
                    lambda: fired(monitor) >= WHEN_OVERLOADED, "the alerts of an overload", LONG
                )
                assert said_badly(monitor) == []
                assert named(project) - exported(monitor) == set()
                assert undocumented(project, monitor) == set()
            behind.stop()
            stop_postgres(url)
            wait_for(
                lambda: fired(monitor) >= WHEN_CUT_OFF, "the alerts of a service cut off", LONG
            )
            assert without_data(project, monitor) == []
        seen = WHEN_STOPPED | WHEN_OVERLOADED | WHEN_CUT_OFF
        assert {rule["name"] for rule in rules(monitor)} == {alert for alert, _ in seen}


class Upstream(ThreadingHTTPServer):
    """What `/external` asks, and a pool whose figures are invented."""

    daemon_threads = True
    is_slow = False
    invents = False
    is_gone = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.is_gone = True
        self.shutdown()
        self.server_close()


# Figures of a pool with two connections, of which so many are in use.
INVENTED = """db_pool_size{{pool="invented"}} 2
db_pool_checked_out{{pool="invented"}} {}
"""


class Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/metrics":
            out = 3 if self.server.invents else 1
            labels = '{pool="invented"}'
            self.answer(
                "text/plain", f"db_pool_size{labels} 2\ndb_pool_checked_out{labels} {out}\n"
            )
            return
        if self.server.is_slow:
            time.sleep(0.6)  # more than HttpPoolWaitHigh allows, for those who wait
        if self.server.is_gone:
            self.close_connection = True
        else:
            self.answer("application/json", "{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer("application/json", "{}")

    do_HEAD = do_GET  # noqa: N815 - so the base class finds it

    def answer(self, media_type: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def upstream() -> Iterator[Upstream]:
    server = Upstream(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def service(installed: Installed, port: int, variables: Mapping[str, str]) -> Iterator[Service]:
    """The service, ready; asked to end afterwards."""
    log = installed.project.path.with_name("service.log")
    command = (installed.python, "-m", "uvicorn", "app.main:app", "--port", str(port))
    with started(installed.project, log, *command, variables=variables) as process:
        service = Service(port, process)
        service.wait_until_ready(2 * PATIENCE)
        yield service
        service.stop()


def stop_postgres(url: str) -> None:
    directory = parse_qs(urlsplit(url).query)["host"][0]
    os.kill(int(Path(directory, "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


def said_badly(monitor: Prometheus) -> list[str]:
    """What alerts would tell the person on call, where it does not say of what, or how much."""

    def is_bad(labels: dict[str, str], summary: str, description: str) -> bool:
        about = labels.get("pool") or labels.get("instance") or labels["job"]
        return about not in summary or bool(re.search(r"[{}<]|%!", summary + description))

    alerts = asked(monitor, "alerts")["alerts"]
    assert alerts
    return [str(each) for each in alerts if is_bad(each["labels"], **each["annotations"])]


def dashboards(project: Project) -> list[dict[str, Any]]:
    found = sorted((project.path / "monitoring" / "dashboards").glob("*.json"))
    assert found
    return [json.loads(path.read_text()) for path in found]


def queries(project: Project) -> list[str]:
    """What Grafana would ask for the dashboards, with all pools chosen."""
    found = []
    for dashboard in dashboards(project):
        found += [each["expr"] for each in dashboard["annotations"]["list"]]
        found += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                selected = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert selected
                found.append(f"count by ({selected[2]}) ({selected[1]})")
    chosen = {"$job": "service", "$pool": ".+", "$__rate_interval": "2m"}
    for name, value in chosen.items():
        found = [query.replace(name, value) for query in found]
    assert not any("$" in query for query in found)
    return [hastened(query) for query in found]


def without_data(project: Project, monitor: Prometheus) -> list[str]:
    """The queries to which Prometheus never had an answer; there is none below zero."""
    ever = "count_over_time((({}) >= 0)[2m:1s])"
    return [each for each in queries(project) if not values(monitor, ever.format(each))]


METRIC = re.compile(r"\b(?:db_pool|http_pool|http_server|python|process)_[a-z_]*[a-z]")


def family(metric: str) -> str:
    """What a histogram's parts belong to."""
    return re.sub(r"_(bucket|count|sum|created)$", "", metric)


def exported(monitor: Prometheus) -> set[str]:
    """The metrics that the service has."""
    found = asked(monitor, "targets/metadata", match_target='{job="service"}')
    return {family(each["metric"]) for each in found}


def described(project: Project) -> str:
    """The README's part about monitoring."""
    return project.read("README.md").partition("## Monitoring\n")[2].partition("\n## ")[0]


def named(project: Project) -> set[str]:
    """The metrics that alerts, dashboards and the README speak of."""
    alerts = [path.read_text() for path in (project.path / "monitoring").glob("alerts/*.yml")]
    texts = [*alerts, *queries(project), described(project)]
    prefixes = set(re.findall(r"`(\w+)_…`", described(project)))
    return {family(name) for text in texts for name in METRIC.findall(text)} - prefixes


def undocumented(project: Project, monitor: Prometheus) -> set[str]:
    """The metrics of the service that its README does not name, nor the beginning of their name."""
    names = re.findall(r"`(\w+?)(_…)?[`{]", described(project))
    return {
        metric
        for metric in exported(monitor)
        if not any(
            metric == name or (prefix and metric.startswith(f"{name}_")) for name, prefix in names
        )
    }
