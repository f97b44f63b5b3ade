"""Delete what was not chosen, then say what there is and what to type next."""

import json
import shutil
from pathlib import Path
from typing import Any

SQLALCHEMY = ("sqlalchemy_pool", "multi_db")
DATABASE = ("sqlalchemy_pool", "asyncpg_pool", "multi_db")

# Each path stays when, in every row that names it, at least one of the features is chosen.
OWNED_BY = [
    (
        SQLALCHEMY,
        [
            "app/databases.py",
            "app/pools/sqlalchemy.py",
            "app/users",
            "dev/samples/users.sql",
            "migrations/versions/0001_users.py",
            "migrations/versions/0002_users_created_at.py",
            "migrations/versions/0003_users_visits.py",
            "tests/users",
        ],
    ),
    (
        ("asyncpg_pool",),
        [
            "app/items",
            "app/pools/asyncpg.py",
            "app/sql.py",
            "dev/samples/items.sql",
            "migrations/versions/0001_items.py",
            "tests/items",
        ],
    ),
    (
        DATABASE,
        [
            "alembic.ini",
            "app/budget",
            "compose.pgbouncer.yaml",
            "database.mk",
            "deploy/kubernetes/components/database",
            "app/pools/holds.py",
            "app/pools/postgres.py",
            "dev/samples",
            "dev/servers/postgres.py",
            "migrations",
            "tests/database",
        ],
    ),
    (
        ("aiohttp_pool",),
        [
            "app/external",
            "app/pools/aiohttp.py",
            "deploy/kubernetes/components/aiohttp",
            "dev/servers/upstream.py",
            "tests/external",
        ],
    ),
    (
        ("multi_db",),
        [
            "app/analytics",
            "app/pools/replica.py",
            "app/replication",
            "compose.replica.yaml",
            "deploy/kubernetes/components/replica",
            "tests/replication",
        ],
    ),
    (
        ("monitoring",),
        [
            "app/database_health",
            "app/monitoring",
            "app/pools_page",
            "compose.monitoring.yaml",
            "deploy/kubernetes/components/monitoring",
            "deploy/kubernetes/components/monitoring-database",
            "deploy/kubernetes/components/monitoring-http",
            "dev/alert_rules.py",
            "dev/servers/pools_page.py",
            "monitoring",
            "monitoring.mk",
            "tests/database/health",
            "tests/monitoring",
            "tests/pools_page",
        ],
    ),
    # What needs two features has two rows.
    (
        DATABASE,
        [
            "app/database_health",
            "deploy/kubernetes/components/monitoring-database",
            "monitoring/alerts/database.yml",
            "monitoring/alerts_test/database.yml",
            "monitoring/dashboards/database.json",
            "tests/database/health",
        ],
    ),
    (
        ("aiohttp_pool",),
        [
            "deploy/kubernetes/components/monitoring-http",
            "monitoring/alerts/http.yml",
            "monitoring/alerts_test/http.yml",
            "monitoring/dashboards/http.json",
        ],
    ),
    (SQLALCHEMY, ["migrations/versions/0004_users_and_items.py"]),
    (("asyncpg_pool",), ["migrations/versions/0004_users_and_items.py"]),
]


# Left in the template by running it in place.
CACHES = (".*_cache", "**/__pycache__", ".venv", "uv.lock")


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def prune(answers: dict[str, Any], project: Path) -> None:
    """Delete the paths whose features were not chosen.

    Raises FileNotFoundError for a path that the template does not have.
    """
    paths = [(features, project / path) for features, owned in OWNED_BY for path in owned]
    for _, path in paths:
        path.lstat()
    for features, path in paths:
        if not any(answers[feature] for feature in features):
            delete(path)
    for pattern in CACHES:
        for path in list(project.glob(pattern)):
            delete(path)


def summary(answers: dict[str, Any]) -> str:
    chosen = {
        "SQLAlchemy pool": any(answers[feature] for feature in SQLALCHEMY),
        "asyncpg pool": answers["asyncpg_pool"],
        "aiohttp pool": answers["aiohttp_pool"],
        "several databases": answers["multi_db"],
        "monitoring": answers["monitoring"],
    }
    features = ", ".join(feature for feature, is_chosen in chosen.items() if is_chosen)
    return f"""
{answers["project_slug"]} has: {features}.
Python {answers["python_version"]} or later, licence: {answers["license"]}.

Next:
  cd {answers["project_slug"]}
  make test
  make dev
"""


def main() -> None:
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    prune(answers, Path.cwd())
    print(summary(answers))


if __name__ == "__main__":
    main()
