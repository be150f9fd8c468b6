from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from batching.settings import Settings, parse_token_limits


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OBM_DATA_DIR", "OBM_ACCOUNT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_it_speaks_to_openai_and_keeps_its_data_here() -> None:
    settings = Settings()
    assert settings.openai_base_url == "https://api.openai.com/v1"
    assert settings.is_openai
    assert settings.openai_api_key is None
    assert settings.data_dir == Path("data")
    assert settings.max_spend_per_day is None


def test_the_environment_is_read_and_wins_over_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("OBM_BATCH_MAX_WAIT=7\nOBM_PORT=4001\nELSE=ignored\n")
    monkeypatch.setenv("OBM_PORT", "4002")
    monkeypatch.setenv("OBM_MAX_SPEND_PER_DAY", "12.50")
    settings = Settings()
    assert settings.batch_max_wait_seconds == 7.0
    assert settings.port == 4002
    assert settings.max_spend_per_day == Decimal("12.50")


def test_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    settings = Settings()
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-very-secret"


def test_the_account_names_its_server_but_not_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    monkeypatch.setenv("OBM_ACCOUNT", "research")
    settings = Settings()
    assert settings.account == "research@http://127.0.0.1:9/v1"
    assert not settings.is_openai


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_BASE_URL", "api.openai.com/v1"),
        ("OBM_BATCH_MAX_REQUESTS", "0"),
        ("OBM_BATCH_MAX_REQUESTS", "50001"),
        ("OBM_BATCH_MAX_WAIT", "-1"),
        ("OBM_BATCH_MAX_WAIT", "inf"),
        ("OBM_RESULTS_GRACE_SECONDS", "nan"),
        ("OBM_MAX_ATTEMPTS", "0"),
        ("OBM_MAX_ATTEMPTS", "256"),
        ("OBM_MAX_RETURNS", "256"),
        ("OBM_KEEP_REQUESTS_DAYS", "1e9"),
        ("OBM_TOKEN_LIMITS", "gpt-4o"),
        ("OBM_ACCOUNT", ""),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable):
        Settings()


def test_token_limits_are_read_with_their_usual_spellings() -> None:
    assert parse_token_limits(" GPT-4o = 90_000 ,o3=5, ") == {"gpt-4o": 90_000, "o3": 5}
    assert parse_token_limits("") == {}


@pytest.mark.parametrize("text", ["a=0", "a=-1", "=5", "a=", "a", "a=1.5", "a=²", "a=1e6"])
def test_a_faulty_token_limit_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not `model=tokens`"):
        parse_token_limits(f"good=1,{text}")


def test_settings_can_be_made_by_their_python_names() -> None:
    assert Settings(data_dir=Path("/tmp/else"), token_limits={"a": 1}).token_limits == {"a": 1}  # noqa: S108 - nothing is written there
