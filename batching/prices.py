"""What tokens cost: a dated table that an operator can replace. Unknown is unknown, never 0."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Self

from batching.errors import ConfigurationError
from batching.provider import TokenUsage

_BATCH_SHARE = Decimal("0.5")
_LONG_INPUT_FACTOR = Decimal(2)
_LONG_OUTPUT_FACTOR = Decimal("1.5")
_ONE = Decimal(1)
_PER_TOKENS = Decimal(1_000_000)
_DATE_AT_END = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_DATE_IN_COMMENT = re.compile(r"\d{4}-\d{2}(-\d{2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per 1,000,000 tokens of one model at the synchronous price."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    """None: cached input costs what input costs."""
    cached_in_batch: bool = False
    """Whether the discount for cached input is known to hold in batches too."""
    long_above_tokens: int | None = None
    """A request with more input tokens costs twice the input and 1.5 times the output."""

    def cost_usd(self, usage: TokenUsage, *, batch: bool = True) -> Decimal:
        """Return what one request with this usage costs, in a batch or synchronously."""
        is_long = self.long_above_tokens is not None and usage.input_tokens > self.long_above_tokens
        cached_tokens = min(usage.cached_tokens, usage.input_tokens)
        incoming = (usage.input_tokens - cached_tokens) * self.input + (
            cached_tokens * self._cached_price(batch=batch)
        )
        outgoing = usage.output_tokens * self.output
        if is_long:
            incoming, outgoing = incoming * _LONG_INPUT_FACTOR, outgoing * _LONG_OUTPUT_FACTOR
        return (incoming + outgoing) * (_BATCH_SHARE if batch else _ONE) / _PER_TOKENS

    def _cached_price(self, *, batch: bool) -> Decimal:
        if self.cached_input is None or (batch and not self.cached_in_batch):
            return self.input
        return self.cached_input


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """The prices of all known models, and the day they were true."""

    as_of: str | None
    prices: Mapping[str, Price]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the table in the file, or the one that comes with the product."""
        source = files("batching") / "data" / "prices.csv" if path is None else path
        try:
            text = source.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the price table {source} cannot be read ({error}): correct OBM_PRICE_TABLE"
            ) from error
        return cls(as_of=_date_in(text), prices=dict(_read_rows(text, str(source))))

    def price_of(self, model: str) -> Price | None:
        """Return the price of a model, with or without a date in its name; None if unknown."""
        name = model.lower()
        return self.prices.get(name) or self.prices.get(_DATE_AT_END.sub("", name))

    def cost_usd(
        self, model: str | None, usage: TokenUsage | None, *, batch: bool = True
    ) -> Decimal | None:
        """Return what one request cost, or None if its price or usage is unknown."""
        price = self.price_of(model) if model else None
        if price is None or usage is None:
            return None
        return price.cost_usd(usage, batch=batch)

    def estimate_usd(
        self, model: str, *, input_tokens: int, output_tokens: int, batch: bool = True
    ) -> Decimal | None:
        """Return what so many tokens of one request would cost, or None if it is unknown."""
        usage = TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens)
        return self.cost_usd(model, usage, batch=batch)


def _date_in(text: str) -> str | None:
    first_line = text.partition("\n")[0]
    match = _DATE_IN_COMMENT.search(first_line) if first_line.startswith("#") else None
    return match[0] if match else None


def _read_rows(text: str, source: str) -> Iterator[tuple[str, Price]]:
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    rows = csv.DictReader(line for _, line in numbered)
    for row in rows:
        number, _ = numbered[rows.line_num - 1]
        try:
            yield row["model"].strip().lower(), _price(row)
        except (KeyError, ValueError, InvalidOperation, AttributeError) as error:
            raise ConfigurationError(
                f"line {number} of the price table {source} is wrong ({error!r}): it needs "
                "model,input,cached_input,output with USD per 1,000,000 tokens"
            ) from error


def _price(row: Mapping[str, str | None]) -> Price:
    cached, long_above = row.get("cached_input"), row.get("long_above_tokens")
    return Price(
        input=_usd(row["input"]),
        output=_usd(row["output"]),
        cached_input=_usd(cached) if cached else None,
        cached_in_batch=(row.get("cached_in_batch") or "").strip().lower() == "yes",
        long_above_tokens=int(long_above) if long_above else None,
    )


def _usd(text: str | None) -> Decimal:
    amount = Decimal((text or "").strip())
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{text!r} is no price")
    return amount
