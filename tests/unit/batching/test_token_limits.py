"""Which enqueued-token limit is in force, and how sure it is."""

from pathlib import Path

import pytest

from batching.errors import ConfigurationError
from batching.token_limits import LimitSource, TokenLimit, TokenLimitTable, limit_for


@pytest.fixture(scope="module")
def table() -> TokenLimitTable:
    return TokenLimitTable.load()


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 90_000),
        ("gpt-4o-2024-08-06", 90_000),
        ("GPT-4o-mini", 2_000_000),
        ("gpt-4o-mini-tts", 50_000),
        ("gpt-4o-mini-tts-2025-12-15", 250_000),
        ("gpt-4o-mini-tts-2025-01-01", 50_000),
        ("gpt-5.4", 1_500_000),
        ("text-embedding-3-small", 3_000_000),
        ("gpt-6-sol", None),
        ("ft:gpt-4o:me", None),
    ],
)
def test_the_table_knows_names_then_names_without_date_then_prefixes(
    table: TokenLimitTable, model: str, tokens: int | None
) -> None:
    assert table.find(model) == tokens


def test_an_override_wins_by_its_longest_prefix(table: TokenLimitTable) -> None:
    limit = limit_for(
        "GPT-4o-mini-2024-07-18",
        overrides={"gpt-4o": 1, "gpt-4o-mini": 2, "o3": 3},
        learned=4,
        table=table,
    )

    assert limit == TokenLimit(tokens=2, source=LimitSource.OVERRIDE)
    assert limit.certain


def test_what_the_provider_said_comes_before_the_table(table: TokenLimitTable) -> None:
    limit = limit_for("gpt-4o", overrides={"o3": 3}, learned=400_000, table=table)

    assert limit == TokenLimit(tokens=400_000, source=LimitSource.LEARNED)
    assert limit.certain


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-unheard-of"])
def test_the_table_is_never_certain(table: TokenLimitTable, model: str) -> None:
    limit = limit_for(model, overrides={}, learned=None, table=table)

    assert limit == TokenLimit(tokens=90_000, source=LimitSource.TABLE)
    assert not limit.certain


def test_without_table_there_is_no_limit_until_the_provider_names_one() -> None:
    limit = limit_for("gpt-4o", overrides={}, learned=None, table=None)

    assert limit == TokenLimit(tokens=None, source=LimitSource.NONE)
    assert not limit.certain


def test_an_operator_replaces_the_table(tmp_path: Path) -> None:
    path = tmp_path / "limits.csv"
    path.write_text("# mine\nmodel,tokens\nGPT-4o,7\n")

    assert TokenLimitTable.load(path).find("gpt-4o-2024-08-06") == 7


@pytest.mark.parametrize(
    "text", ["model,tokens\na,many\n", "model,limit\na,1\n", "model,tokens\na\n"]
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.csv"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=r"limits\.csv.*OBM_TOKEN_LIMIT_TABLE"):
        TokenLimitTable.load(path)
