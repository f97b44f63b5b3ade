"""Settings that do not fit are refused in sentences; what is documented is what there is."""

import pytest
import uvicorn
from hypothesis import given, settings, strategies as st

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


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
VARIABLES = [setting.variable for setting in settings_of(Settings)]
SECRETS = {name for name in VARIABLES if name.endswith(("_URL", "_TOKEN"))}


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    variable=st.sampled_from(VARIABLES),
    value=WORDS | st.integers().map(str) | st.floats().map(str) | st.from_regex(r"\A\w+://\S+\Z"),
)
def test_whatever_a_variable_says_the_service_has_settings_or_says_why(
    variable: str, value: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, value)
        try:
            load()
        except SystemExit as refusal:
            said = str(refusal.code)
            assert all(sentence.endswith(".") for sentence in said.splitlines())
            assert variable.rpartition("__")[2] in said
            assert variable not in SECRETS or len(value) < 5 or value not in said


def test_a_refused_start_is_one_sentence_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHUTDOWN_GRACE", "-1")
    with pytest.raises(SystemExit) as refusal:
        uvicorn.run("app.main:app", port=0, log_config=None)
    assert refusal.value.code == (
        "SHUTDOWN_GRACE (-1) does not fit: input should be greater than 0; see .env.example."
    )
