"""What tokens cost; what is unknown is never said to be free."""

from decimal import Decimal
from pathlib import Path

import pytest

from batching.errors import ConfigurationError
from batching.prices import PriceTable
from batching.provider import TokenUsage

MILLION = 1_000_000


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return PriceTable.load()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text(text)
    return path


def test_the_table_that_comes_with_the_product_says_its_date(table: PriceTable) -> None:
    assert table.as_of == "2026-10"
    assert len(table.prices) == 38


def test_a_batch_costs_half(table: PriceTable) -> None:
    usage = TokenUsage(input_tokens=MILLION, output_tokens=MILLION)

    assert table.cost_usd("gpt-4o-mini", usage, batch=False) == Decimal("0.75")
    assert table.cost_usd("gpt-4o-mini", usage) == Decimal("0.375")


@pytest.mark.parametrize(
    ("model", "input_price"),
    [
        ("gpt-4o", "2.5"),
        ("gpt-4o-2024-08-06", "2.5"),
        ("GPT-4o", "2.5"),
        ("omni-moderation-latest", "0"),
    ],
)
def test_a_model_is_found_by_its_name_with_or_without_date(
    table: PriceTable, model: str, input_price: str
) -> None:
    price = table.price_of(model)

    assert price is not None
    assert price.input == Decimal(input_price)


@pytest.mark.parametrize(
    "model", ["o3-deep-research", "gpt-4o-new", "ft:gpt-4o:me", "gpt", "", None]
)
def test_a_model_that_is_not_listed_has_no_price(table: PriceTable, model: str | None) -> None:
    assert table.cost_usd(model, TokenUsage(input_tokens=5)) is None


def test_unknown_usage_has_no_cost(table: PriceTable) -> None:
    assert table.cost_usd("gpt-4o", None) is None


@pytest.mark.parametrize(
    ("model", "batch", "cost"),
    [
        ("gpt-5", False, "0.75"),  # 400,000 at 0.125 and 560,000 at 1.25
        ("gpt-5", True, "0.375"),
        ("gpt-4o", False, "1.9"),  # 400,000 at 1.25 and 560,000 at 2.5
        ("gpt-4o", True, "1.2"),  # no cached price is known for batches: all at 1.25
        ("gpt-4", False, "28.8"),  # has no cached price at all
    ],
)
def test_cached_input_is_cheaper_where_that_is_known(
    table: PriceTable, model: str, *, batch: bool, cost: str
) -> None:
    usage = TokenUsage(input_tokens=960_000, cached_tokens=400_000)

    assert table.cost_usd(model, usage, batch=batch) == Decimal(cost)


@pytest.mark.parametrize(
    ("model", "input_tokens", "cost"),
    [
        ("gpt-5.4", 272_000, "0.83"),  # 272,000 at 2.5 and 10,000 at 15
        ("gpt-5.4", 300_000, "1.725"),  # 300,000 at 5 and 10,000 at 22.5
        ("gpt-5.4-mini", 300_000, "0.27"),  # no such rule: 300,000 at 0.75 and 10,000 at 4.5
    ],
)
def test_long_requests_cost_more_where_the_family_says_so(
    table: PriceTable, model: str, input_tokens: int, cost: str
) -> None:
    usage = TokenUsage(input_tokens=input_tokens, output_tokens=10_000)

    assert table.cost_usd(model, usage, batch=False) == Decimal(cost)


def test_an_estimate_counts_tokens_before_anything_was_sent(table: PriceTable) -> None:
    assert table.estimate_usd("gpt-4o", input_tokens=1000, output_tokens=100) == Decimal("0.00175")
    assert table.estimate_usd("unheard-of", input_tokens=1000, output_tokens=100) is None


def test_an_operator_replaces_the_table(tmp_path: Path) -> None:
    path = written(tmp_path, "model,input,cached_input,output\nmine , 4 ,,8\n\n# note\n")

    table = PriceTable.load(path)

    assert table.as_of is None
    assert table.price_of("gpt-4o") is None
    assert table.cost_usd("mine", TokenUsage(input_tokens=MILLION)) == Decimal(2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# 2026\nmodel,input,cached_input,output\na,1,,2\nb,cheap,,2\n", "line 4"),
        ("model,input,cached_input,output\na,-1,,2\n", "line 2"),
        ("model,input,cached_input,output\na,1,,NaN\n", "line 2"),
        ("model,input,cached_input,output\na,1\n", "line 2"),
        ("model,cost\na,1\n", "line 2"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigurationError, match=line):
        PriceTable.load(written(tmp_path, text))


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="OBM_PRICE_TABLE"):
        PriceTable.load(tmp_path / "gone.csv")
