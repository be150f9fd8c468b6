"""Which enqueued-token limit is in force, and how sure it is."""

from pathlib import Path

import pytest

from batching.errors import BadInput, ConfigurationError
from batching.token_limits import (
    LimitSource,
    TokenLimit,
    TokenLimitTable,
    capped,
    limit_for,
    read_model_prefix,
    read_tokens,
)


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


CAPS = {"gpt-4o": 500, "gpt-4o-mini": 300}
FROM_TABLE = TokenLimit(tokens=90_000, source=LimitSource.TABLE)


@pytest.mark.parametrize(
    ("model", "learned", "found"),
    [
        ("gpt-4o-mini-2024-07-18", None, (300, "operator")),
        ("GPT-4o-2024-08-06", None, (500, "operator")),
        ("gpt-4o", 499, (499, "learned")),
        ("gpt-4o", 501, (500, "operator")),
        ("o3", None, (90_000, "table")),
        ("o3", 100, (90_000, "table")),
    ],
)
def test_a_cap_counts_by_its_longest_prefix_until_the_provider_says_less(
    model: str, learned: int | None, found: tuple[int, str]
) -> None:
    limit = capped(FROM_TABLE, model, learned=learned, caps=CAPS)
    assert (limit.tokens, limit.source.value) == found
    assert limit.certain == (found[1] != "table")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("2000000", 2_000_000), ("2,000,000", 2_000_000), ("2_000_000", 2_000_000),
        (" 2 000 000 ", 2_000_000), ("2M", 2_000_000), ("1.5m", 1_500_000), ("900k", 900_000),
        ("1", 1), ("1000000000000", 1_000_000_000_000),
    ],
)  # fmt: skip
def test_tokens_are_read_as_people_write_them(text: str, tokens: int) -> None:
    assert read_tokens(text) == tokens


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "many", "1.5", "0.0001k", "2MM", "1e6", "٣", "1000000000001", "∞"]
)
def test_what_is_no_positive_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="no number of tokens"):
        read_tokens(text)


def test_the_beginning_of_a_name_is_kept_in_lower_case() -> None:
    assert read_model_prefix(" GPT-4o ") == "gpt-4o"
    for text in ("", "  ", "gpt 4o", "gpt\n4o", "x" * 201, "a\x00b"):
        with pytest.raises(BadInput, match="cannot begin the name"):
            read_model_prefix(text)
