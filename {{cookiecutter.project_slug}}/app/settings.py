"""The whole configuration. A field whose type is a pool's settings is a pool.

Each variable is a field's name, in upper case, nested with two underscores: RETRY__ATTEMPTS.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app import __title__, __version__, internal
from app.pools import (
    # {% if cookiecutter.aiohttp_pool %}
    aiohttp as aiohttp_pool,
    # {% endif %}
    # {% if cookiecutter.asyncpg_pool %}
    asyncpg as asyncpg_pool,
    # {% endif %}
    base,
    # {% if cookiecutter.sqlalchemy_pool or cookiecutter.asyncpg_pool or cookiecutter.multi_db %}
    postgres,
    # {% endif %}
    # {% if cookiecutter.multi_db %}
    replica as replica_pool,
    # {% endif %}
    # {% if cookiecutter.sqlalchemy_pool or cookiecutter.multi_db %}
    sqlalchemy as sqlalchemy_pool,
    # {% endif %}
)
from app.retry import RetrySettings
from app.shutdown import POOLS


class Settings(BaseSettings):
    """The service's settings, from the environment and `.env`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        env_nested_delimiter="__",
        extra="ignore",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    request_deadline: float = Field(
        5,
        gt=0,
        description="Seconds within which a request is answered, whatever it waits for: queue, "
        "connect, query, commit and release together. People wait no longer.",
    )
    shutdown_grace: float = Field(
        10,
        gt=0,
        description="Seconds from SIGTERM to exit, the closing of the pools included. A third of "
        "what Kubernetes gives a container before it kills it.",
    )
    max_body_size: int = Field(
        10 * 1024 * 1024,
        ge=1,
        description="Bytes of a request's body; a longer one is answered with 413. 10 MiB are more "
        "than a form or a batch needs, and bound the memory that requests take.",
    )
    internal_address: internal.Address | None = Field(
        None,
        description="Where alone `/docs` and what those ask for who run the service is answered, "
        "such as `0.0.0.0:9000`. Default: where everything is, so that one port will do.",
        examples=["0.0.0.0:9000"],
    )
    retry: RetrySettings = RetrySettings()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The least severe kind of line that is logged; libraries log from WARNING on, "
        "as their details drown ours.",
    )
    # {% if cookiecutter.monitoring %}
    pools_page: bool = Field(
        False,
        description="Whether `GET /pools` shows what each pool does, live. Off by default, as no "
        "login guards it; `make dev` switches it on.",
        json_schema_extra={"section": "monitoring"},
    )
    # {% endif %}
    # {% if cookiecutter.sqlalchemy_pool or cookiecutter.asyncpg_pool or cookiecutter.multi_db %}
    database_url: postgres.DatabaseUrl | None = Field(
        None,
        description="The database of every pool that has no URL of its own: "
        "`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`. Several hosts and `?host=/socket` work. "
        "Required: there is no sensible default.",
        examples=["postgresql://user:password@localhost:5432/database"],
        json_schema_extra={"section": "databases"},
    )
    database_url_file: postgres.UrlFile | None = Field(
        None,
        description="A file with that URL, instead of the variable. It is read again for each "
        "connection, so that a new password needs no restart.",
        json_schema_extra={"section": "databases"},
    )
    database_pgbouncer: bool = Field(
        False,
        description="Whether PgBouncer in transaction mode is at that URL; see `…__PGBOUNCER`.",
        json_schema_extra={"section": "databases"},
    )
    web_concurrency: int = Field(
        1,
        ge=1,
        description="Worker processes of one instance, which uvicorn starts; for the connection "
        "budget. One by default: several small instances are easier to replace than one large.",
        json_schema_extra={"section": "databases"},
    )
    instances: int = Field(
        1,
        ge=1,
        description="Instances of the service at the same databases; for the connection budget.",
        json_schema_extra={"section": "databases"},
    )
    budget: Literal["warn", "strict"] = Field(
        "warn",
        description="What to do at start when all pools of all workers and instances may open more "
        "connections than their server has room for: warn, or refuse to start (`strict`). A "
        "warning by default, as a service that starts serves more than one that does not.",
        json_schema_extra={"section": "databases"},
    )
    # {% endif %}
    # {% if cookiecutter.sqlalchemy_pool or cookiecutter.multi_db %}
    primary: sqlalchemy_pool.SQLAlchemySettings = sqlalchemy_pool.SQLAlchemySettings()
    # {% endif %}
    # {% if cookiecutter.multi_db %}
    replica: replica_pool.ReplicaSettings = replica_pool.ReplicaSettings()
    analytics: replica_pool.AnalyticsSettings = replica_pool.AnalyticsSettings()
    # {% endif %}
    # {% if cookiecutter.asyncpg_pool %}
    asyncpg: asyncpg_pool.AsyncpgSettings = asyncpg_pool.AsyncpgSettings()
    # {% endif %}
    # {% if cookiecutter.aiohttp_pool %}
    aiohttp: aiohttp_pool.AiohttpSettings
    # {% endif %}

    def pool_settings(self) -> Iterator[tuple[str, base.PoolSettings]]:
        for name, value in self:
            if isinstance(value, base.PoolSettings):
                yield name, value

    @model_validator(mode="after")
    def complete_pools(self) -> Self:
        for name, pool in self.pool_settings():
            pool.complete(name, dict(self))
        return self

    def pools(
        self, opened: Mapping[str, base.Pool]
    ) -> Iterator[AbstractAsyncContextManager[base.Pool]]:
        """The pools to open, in this order; each may use those that are open by then."""
        enabled = [(name, pool) for name, pool in self.pool_settings() if pool.enabled]
        service = base.Service(
            name=__title__,
            version=__version__,
            deadline=self.request_deadline,
            close_timeout=POOLS * self.shutdown_grace / max(1, len(enabled)),
        )
        for name, pool in enabled:
            yield pool.open(name, service, opened)


def load() -> Settings:
    """The settings from the environment.

    Raises SystemExit with one sentence for each thing that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(sentence(dict(details)) for details in error.errors())) from None
    except SettingsError as error:
        raise SystemExit(f"{error}: use one variable for each setting, see .env.example") from None


def sentence(error: Mapping[str, Any]) -> str:
    """What is wrong with which variable, and what to do. Shows no value but a wrong number."""
    variable = "__".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "value_error":
        said = f"{variable} {error['ctx']['error']}"
    elif error["type"] == "missing":
        said = f"{variable} is not set: set it, see .env.example"
    elif error["type"] == "extra_forbidden":
        said = f"{variable} is no setting: correct its name or remove it, see .env.example"
    else:
        problem = error["msg"][0].lower() + error["msg"][1:]
        is_number = error["type"].startswith(("greater", "less", "int", "float", "finite"))
        given = str(error["input"])
        value = f" ({given})" if is_number and re.fullmatch(r"[\w.+-]{1,20}", given) else ""
        said = f"{variable}{value} does not fit: {problem}; see .env.example"
    return f"{said.strip()}."
