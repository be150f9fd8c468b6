"""What reports need to know beyond the ledger: prices, limits and waits, as they are set now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from batching.planning import BatchLimits
from batching.prices import PriceTable
from batching.settings import Settings
from batching.token_limits import TokenLimit, TokenLimitTable, capped, limit_for


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How the settings bear on what reports show; made once for a process."""

    settings: Settings
    prices: PriceTable
    token_limits: TokenLimitTable | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the terms under these settings; ConfigurationError if a table is faulty."""
        has_table = settings.token_limit_table is not None or settings.is_openai
        return cls(
            settings=settings,
            prices=PriceTable.load(settings.price_table),
            token_limits=TokenLimitTable.load(settings.token_limit_table) if has_table else None,
        )

    def token_limit_of(self, model: str, learned: int | None) -> TokenLimit:
        """Return the enqueued-token limit of a model for which no operator has set a cap."""
        return limit_for(
            model,
            overrides=self.settings.token_limits,
            learned=learned,
            table=self.token_limits,
        )

    def limit_in_force(
        self, model: str, *, learned: int | None, caps: Mapping[str, int]
    ) -> TokenLimit:
        """Return the enqueued-token limit of a model under the caps that operators have set."""
        return capped(self.token_limit_of(model, learned), model, learned=learned, caps=caps)

    @property
    def limits(self) -> BatchLimits:
        """The most that one batch may hold."""
        return BatchLimits(
            requests=self.settings.batch_max_requests,
            bytes=self.settings.batch_max_bytes,
            embedding_inputs=self.settings.batch_max_embedding_inputs,
        )
