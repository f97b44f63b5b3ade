"""URLs and timeouts of databases."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.pools.postgres import DatabaseSettings, dsn
from app.settings import Settings, load


def first_pool(settings: Settings) -> tuple[str, DatabaseSettings]:
    name, pool = next(
        (name, pool)
        for name, pool in settings.pool_settings()
        if isinstance(pool, DatabaseSettings)
    )
    return name, pool


@pytest.fixture
def name() -> str:
    """The first database pool's, as its variables begin."""
    return first_pool(Settings())[0].upper()


def refusal() -> str:
    with pytest.raises(SystemExit) as refused:
        load()
    return str(refused.value.code)


def test_without_a_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("DATABASE_URL")
    assert refusal() == (
        "DATABASE_URL is not set: set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        f" (or set {name}__URL)."
    )


def test_a_pool_may_have_a_url_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{name}__URL", "postgres://elsewhere/db")
    _, pool = first_pool(Settings())
    assert pool.url == SecretStr("postgres://elsewhere/db")


@pytest.mark.parametrize("pool", ["", "the first pool's"])
def test_a_url_and_a_file_with_one(
    monkeypatch: pytest.MonkeyPatch, name: str, pool: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://elsewhere/db")
    variable = f"{name}__URL" if pool else "DATABASE_URL"
    monkeypatch.setenv(variable, "postgresql://here/db")
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    sentence = f"{variable} and {variable}_FILE are both set: remove one of them."
    assert sentence in refusal().splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "DATABASE_URL_FILE: what is in the file is not a URL"),
        ("mysql://u:secret@h/d", "DATABASE_URL_FILE: what is in the file has the scheme mysql://"),
    ],
)
def test_a_file_without_a_url(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(text)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    sentence = refusal()
    assert sentence.startswith(said)
    assert "secret" not in sentence


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", "/nowhere/url")
    assert "DATABASE_URL_FILE does not fit: path does not point to a file" in refusal()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:secret@host/db", "DATABASE_URL has the scheme mysql://, not postgresql://"),
        ("host/db", "DATABASE_URL is not a URL"),
        ("postgresql://user:se@cret@host/db", "DATABASE_URL has an @ in the password"),
        ("postgresql://host:port/db", "DATABASE_URL has a port that is no number"),
    ],
)
def test_a_url_that_does_not_fit(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    sentence = refusal()
    assert sentence.startswith(said)
    assert "secret" not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/db", "postgresql://u:p@h/db"),
        ("postgresql+asyncpg://u:p@h:1/db", "postgresql://u:p@h:1/db"),
        (
            "postgresql://u@a:1,b:2/db?target_session_attrs=primary",
            "postgresql://u@a:1,b:2/db?target_session_attrs=primary",
        ),
        ("postgresql://u@/db?host=a:1&host=b:2", "postgresql://u@/db?host=a%3A1%2Cb%3A2"),
        ("postgresql://u:@/db?host=/run/pg", "postgresql://u:@/db?host=%2Frun%2Fpg"),
    ],
)
def test_forms_of_urls(url: str, expected: str) -> None:
    assert dsn(SecretStr(url)) == expected


def test_no_secret_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    assert "secret" not in repr(Settings())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"LOCK_TIMEOUT": "4", "STATEMENT_TIMEOUT": "3"},
            "{0}__LOCK_TIMEOUT (4 s) has to be less than {0}__STATEMENT_TIMEOUT (3 s): "
            "lower {0}__LOCK_TIMEOUT or raise {0}__STATEMENT_TIMEOUT.",
        ),
        (
            {"LOCK_TIMEOUT": "6"},
            "{0}__LOCK_TIMEOUT (6 s) has to be less than REQUEST_DEADLINE (5 s): "
            "lower {0}__LOCK_TIMEOUT or raise REQUEST_DEADLINE.",
        ),
        (
            {"COMMAND_TIMEOUT": "5"},
            "{0}__COMMAND_TIMEOUT (5 s) has to be less than REQUEST_DEADLINE (5 s): "
            "lower {0}__COMMAND_TIMEOUT or raise REQUEST_DEADLINE.",
        ),
    ],
)
def test_timeouts_in_the_wrong_order(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, str], sentence: str
) -> None:
    for timeout, seconds in given.items():
        monkeypatch.setenv(f"{name}__{timeout}", seconds)
    assert refusal() == sentence.format(name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (2, 3, 4)),
        ({"lock_timeout": 1}, (1, 7 / 3, 11 / 3)),
        ({"lock_timeout": 4.4}, (4.4, 4.6, 4.8)),
        ({"statement_timeout": 1.5}, (1, 1.5, 3.25)),
        ({"command_timeout": 2}, (1, 1.5, 2)),
    ],
)
def test_timeouts_that_are_not_given_keep_their_place(
    given: dict[str, float], expected: tuple[float, float, float]
) -> None:
    _, pool = first_pool(Settings())
    timeouts = pool.model_copy(update=given).timeouts("pool", 5)
    assert timeouts[:3] == pytest.approx(expected)
    assert (timeouts.connect, timeouts.acquire, timeouts.ping) == (2, 2, 0.5)


def test_an_unknown_variable_of_a_pool(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{name}__POOLSIZE", "5")
    assert refusal() == (
        f"{name}__POOLSIZE is no setting: correct its name or remove it, see .env.example."
    )


def test_all_problems_are_said_at_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{name}__MAX_WAITING", "-1")
    monkeypatch.setenv("REQUEST_DEADLINE", "soon")
    assert refusal().splitlines() == [
        "REQUEST_DEADLINE (soon) does not fit: input should be a valid number, unable to parse "
        "string as a number; see .env.example.",
        f"{name}__MAX_WAITING (-1) does not fit: input should be greater than or equal to 0; "
        "see .env.example.",
    ]


def test_one_given_setting_leaves_the_others_of_its_pool_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    defaults = first_pool(Settings())[1]
    monkeypatch.setenv(f"{name}__LOCK_TIMEOUT", "1")
    _, pool = first_pool(Settings())
    assert pool == defaults.model_copy(update={"lock_timeout": 1})
