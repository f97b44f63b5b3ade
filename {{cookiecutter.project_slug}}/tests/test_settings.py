"""Settings that do not fit are refused in sentences; what is documented is what there is."""

import os
import subprocess
import sys

import pytest

import app
from app.settings import Settings, load
from dev import ROOT
from dev.document_settings import documents, settings_of


def test_every_setting_says_what_it_is_and_why() -> None:
    for setting in settings_of(Settings):
        assert len(setting.description) > 20, setting.variable


def test_the_documents_say_what_the_settings_are() -> None:
    for path, text in documents().items():
        assert path.read_text(encoding="utf-8") == text, "run `make settings`"


def test_the_version_is_the_same_everywhere() -> None:
    assert f'version = "{app.__version__}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "REQUEST_DEADLINE",
            "0",
            "REQUEST_DEADLINE (0) does not fit: input should be greater than 0; see .env.example.",
        ),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL does not fit: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'; "
            "see .env.example.",
        ),
    ],
)
def test_refusals(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as refusal:
        load()
    assert refusal.value.code == sentence


def test_a_refused_start_is_one_sentence_and_no_traceback() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"],
        cwd=ROOT,
        env=os.environ | {"SHUTDOWN_GRACE": "-1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "SHUTDOWN_GRACE (-1) does not fit: input should be greater than 0; see .env.example.\n"
    )
