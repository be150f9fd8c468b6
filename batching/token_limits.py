"""How many tokens may be enqueued for a model at a time, and how sure that is."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Self

from batching.errors import BadInput, ConfigurationError

_DATE_AT_END = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)([km]?)")
_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
MOST_TOKENS = 1_000_000_000_000
LONGEST_MODEL = 200


class LimitSource(StrEnum):
    """Where a limit comes from."""

    OPERATOR = "operator"
    """An operator has set a cap while the product runs."""
    OVERRIDE = "override"
    """The environment sets it (`OBM_TOKEN_LIMITS`)."""
    LEARNED = "learned"
    """The provider named it in a refusal."""
    TABLE = "table"
    """OpenAI's published figure for tier 1; other tiers have more."""
    NONE = "none"
    """Nothing is known: no limit until the provider refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """The enqueued-token limit of one model; None means that none is known."""

    tokens: int | None
    source: LimitSource

    @property
    def certain(self) -> bool:
        """Whether a request above it can be refused without asking the provider."""
        return self.source in (LimitSource.OPERATOR, LimitSource.OVERRIDE, LimitSource.LEARNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimitTable:
    """Limits by model name, for api.openai.com at tier 1."""

    tokens: Mapping[str, int]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the table in the file, or the one that comes with the product."""
        source = files("batching") / "data" / "token_limits.csv" if path is None else path
        try:
            lines = source.read_text(encoding="utf-8-sig").splitlines()
            rows = csv.DictReader(line for line in lines if not line.startswith("#"))
            return cls(tokens={row["model"].strip().lower(): int(row["tokens"]) for row in rows})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"the token-limit table {source} cannot be used ({error!r}): it needs lines "
                "`model,tokens` under that heading; correct OBM_TOKEN_LIMIT_TABLE"
            ) from error

    def find(self, model: str) -> int | None:
        """Return the limit of the name, of the name without its date, or of its longest prefix."""
        name = model.lower()
        for candidate in (name, _DATE_AT_END.sub("", name)):
            if candidate in self.tokens:
                return self.tokens[candidate]
        return _by_longest_prefix(name, self.tokens)


def limit_for(
    model: str,
    *,
    overrides: Mapping[str, int],
    learned: int | None,
    table: TokenLimitTable | None,
) -> TokenLimit:
    """Return the limit in force: the override, else the learned, else the table's, else none."""
    override = _by_longest_prefix(model.lower(), overrides)
    if override is not None:
        return TokenLimit(tokens=override, source=LimitSource.OVERRIDE)
    if learned is not None:
        return TokenLimit(tokens=learned, source=LimitSource.LEARNED)
    listed = table.find(model) if table is not None else None
    if listed is not None:
        return TokenLimit(tokens=listed, source=LimitSource.TABLE)
    return TokenLimit(tokens=None, source=LimitSource.NONE)


def capped(
    limit: TokenLimit, model: str, *, learned: int | None, caps: Mapping[str, int]
) -> TokenLimit:
    """Return the limit in force where an operator may have set a cap for the model.

    The cap counts before the environment and the table. The provider has the last word: what it
    has named since the cap was set lowers it, but never raises it.
    """
    prefix = cap_of(model, caps)
    if prefix is None:
        return limit
    if learned is not None and learned < caps[prefix]:
        return TokenLimit(tokens=learned, source=LimitSource.LEARNED)
    return TokenLimit(tokens=caps[prefix], source=LimitSource.OPERATOR)


def cap_of(model: str, caps: Mapping[str, int]) -> str | None:
    """Return the longest beginning of the model's name that has a cap, None if none has."""
    name = model.lower()
    return max((prefix for prefix in caps if name.startswith(prefix)), key=len, default=None)


def read_model_prefix(text: str) -> str:
    """Return the beginning of a model's name as caps are kept under it; BadInput if it is none."""
    prefix = text.strip().lower()
    if not prefix or len(prefix) > LONGEST_MODEL or not prefix.isprintable() or " " in prefix:
        raise BadInput(
            f"{text[:LONGEST_MODEL]!r} cannot begin the name of a model: it takes 1 to "
            f"{LONGEST_MODEL} characters without spaces, like gpt-4o-mini"
        )
    return prefix


def read_tokens(text: str) -> int:
    """Return a number of tokens written as 2000000, 2,000,000, 2_000_000, 900k or 2M."""
    plain = re.sub(r"[\s,_']", "", text).lower()
    found = _TOKENS.fullmatch(plain) if plain.isascii() else None
    tokens = Decimal(found[1]) * _THOUSANDS[found[2]] if found else Decimal(0)
    if not found or tokens != int(tokens) or not 0 < tokens <= MOST_TOKENS:
        raise BadInput(
            f"{text[:50]!r} is no number of tokens: say a whole number from 1 to "
            f"{MOST_TOKENS:,}, like 2,000,000 or 2M"
        )
    return int(tokens)


def _by_longest_prefix(name: str, limits: Mapping[str, int]) -> int | None:
    prefixes = [prefix for prefix in limits if name.startswith(prefix.lower())]
    return limits[max(prefixes, key=len)] if prefixes else None
