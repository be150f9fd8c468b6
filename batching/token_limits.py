"""How many tokens may be enqueued for a model at a time, and how sure that is."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Self

from batching.errors import ConfigurationError

_DATE_AT_END = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class LimitSource(StrEnum):
    """Where a limit comes from."""

    OVERRIDE = "override"
    """An operator set it."""
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
        return self.source in (LimitSource.OVERRIDE, LimitSource.LEARNED)


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


def _by_longest_prefix(name: str, limits: Mapping[str, int]) -> int | None:
    prefixes = [prefix for prefix in limits if name.startswith(prefix.lower())]
    return limits[max(prefixes, key=len)] if prefixes else None
