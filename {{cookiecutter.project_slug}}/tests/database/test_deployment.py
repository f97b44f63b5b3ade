"""The connections of everything that is deployed fit where they lead."""

import pytest

from app.pools.postgres import DatabaseSettings
from app.settings import Settings
from tests.manifests import environment, only, production

POOLERS = [each["metadata"]["name"] for each in production() if each["kind"] == "Pooler"]

# Superusers', and what looks after the cluster.
RESERVED = 10


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of production."""
    for name, value in environment(only("Deployment")).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return Settings()


def most(pool: DatabaseSettings) -> int:
    """Connections that all processes together may have from this pool."""
    values = dict(pool)
    one = values.get("max_size") or values["pool_size"] + values["max_overflow"]
    return int(one) * pool.processes


def test_as_many_instances_as_the_autoscaler_may_start(settings: Settings) -> None:
    assert settings.instances == only("HorizontalPodAutoscaler")["spec"]["maxReplicas"]


@pytest.mark.parametrize("name", POOLERS)
def test_clients_fit_into_pgbouncer(settings: Settings, name: str) -> None:
    """Even if all of them are at one of its instances, the other being restarted."""
    pools = [
        pool
        for _, pool in settings.pool_settings()
        if isinstance(pool, DatabaseSettings)
        and pool.url
        and f"@{name}:" in pool.url.get_secret_value()
    ]
    assert all(pool.pgbouncer for pool in pools)
    parameters = only("Pooler", name)["spec"]["pgbouncer"]["parameters"]
    assert sum(map(most, pools)) <= int(parameters["max_client_conn"])


@pytest.mark.parametrize("name", POOLERS)
def test_pgbouncer_fits_into_postgresql(name: str) -> None:
    pooler = only("Pooler", name)["spec"]
    cluster = only("Cluster", pooler["cluster"]["name"])["spec"]
    limit = int(cluster["postgresql"]["parameters"]["max_connections"])
    size = int(pooler["pgbouncer"]["parameters"]["default_pool_size"])
    assert pooler["instances"] * size <= limit - RESERVED


def test_the_server_ends_statements_as_the_service_would(settings: Settings) -> None:
    """Nobody else sets these limits behind PgBouncer."""
    statements = only("Cluster", "postgres")["spec"]["bootstrap"]["initdb"][
        "postInitApplicationSQL"
    ]
    [pool, *_] = [
        pool for _, pool in settings.pool_settings() if isinstance(pool, DatabaseSettings)
    ]
    timeouts = pool.timeouts("", settings.request_deadline)
    for name, seconds in (
        ("lock_timeout", timeouts.lock),
        ("statement_timeout", timeouts.statement),
        ("idle_in_transaction_session_timeout", timeouts.idle_in_transaction),
    ):
        assert f"ALTER ROLE service SET {name} = '{seconds:g}s'" in statements
