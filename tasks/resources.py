"""What every step works with: settings, ledger, provider. Made once a process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import polars as pl

from batching.clock import is_due
from batching.errors import ConfigurationError
from batching.failure_policy import RetryLimits
from batching.lifecycle import BatchState
from batching.planning import BatchLimits, TokenRates
from batching.prices import Price, PriceTable
from batching.provider import TokenUsage
from batching.requests import ReadingRules
from batching.settings import Settings
from batching.token_limits import TokenLimit, TokenLimitTable, limit_for
from clients.openai_batches import OpenAIBatches
from storage.batches import Batch, batches_in
from storage.destination_table import reach_of
from storage.directory import DataDirectory
from storage.lanes import SubmissionPolicy
from storage.ledger import Ledger, now
from storage.rebuilding.catching_up import catch_up_if_locked

if TYPE_CHECKING:
    from clients.rabbitmq import RabbitMQPublisher


class Resources:
    """Settings and everything that is made from them; made on first use."""

    def __init__(self, settings: Settings, *, close_at_once: bool = False) -> None:
        self.settings = settings
        self.close_at_once = close_at_once
        self.directory = DataDirectory(settings.data_dir.absolute())

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, created and migrated; one that was put back knows all files again."""
        self.directory.create()
        ledger = Ledger.open(self.directory, memory_bytes=self.settings.ledger_memory_bytes)
        catch_up_if_locked(ledger, account=self.settings.account, cost_of=self.cost_of)
        return ledger

    @cached_property
    def installation(self) -> str:
        """The name of this installation in wire ids."""
        return self.ledger.installation()

    @cached_property
    def provider(self) -> OpenAIBatches:
        """The client of the provider."""
        return OpenAIBatches(self.settings)

    @property
    def last_answer_at(self) -> datetime | None:
        """When the provider last answered this process."""
        client: OpenAIBatches | None = self.__dict__.get("provider")
        return None if client is None else client.last_answer_at

    @cached_property
    def publisher(self) -> "RabbitMQPublisher":
        """The one connection over which results go to RabbitMQ."""
        from clients.rabbitmq import RabbitMQPublisher  # noqa: PLC0415 - imports pika

        url = self.settings.rabbitmq_url
        if url is None:
            raise ConfigurationError("RABBITMQ_URL is not set, so there is no broker to use")
        return RabbitMQPublisher(url.get_secret_value())

    def close(self) -> None:
        """Close the connections to the provider and the broker, if there are any."""
        publisher = self.__dict__.pop("publisher", None)
        if publisher is not None:
            publisher.close()
        client = self.__dict__.pop("provider", None)
        if client is not None:
            client.close()

    @property
    def reading_rules(self) -> ReadingRules:
        """How request lines are read; named destinations count as they are defined now."""
        reach = reach_of(self.directory, self.settings)
        return ReadingRules.of(self.settings, reach=reach)

    @cached_property
    def prices(self) -> PriceTable:
        """The price table in force."""
        return PriceTable.load(self.settings.price_table)

    @cached_property
    def _token_limit_table(self) -> TokenLimitTable | None:
        if self.settings.token_limit_table is None and not self.settings.is_openai:
            return None
        return TokenLimitTable.load(self.settings.token_limit_table)

    def token_limit_of(self, model: str, learned: int | None) -> TokenLimit:
        """Return the enqueued-token limit in force for a model."""
        return limit_for(
            model,
            overrides=self.settings.token_limits,
            learned=learned,
            table=self._token_limit_table,
        )

    def rates_of(self, model: str) -> TokenRates | None:
        """Return what a token of the model costs in a batch, or None if that is not known."""
        price = self.prices.price_of(model)
        if price is None:
            return None
        return TokenRates(
            input_usd=price.cost_usd(TokenUsage(input_tokens=1)),
            output_usd=price.cost_usd(TokenUsage(output_tokens=1)),
        )

    def cost_of(self, model: str, usage: pl.DataFrame) -> Decimal | None:
        """Return what the results with these usage columns cost, or None if not known."""
        price = self.prices.price_of(model)
        return None if price is None else _cost(price, usage)

    @property
    def policy(self) -> SubmissionPolicy:
        """How the settings bear on what lanes may send."""
        settings = self.settings
        return SubmissionPolicy(
            account=settings.account,
            limits=BatchLimits(
                requests=settings.batch_max_requests,
                bytes=settings.batch_max_bytes,
                embedding_inputs=settings.batch_max_embedding_inputs,
            ),
            max_wait_seconds=settings.batch_max_wait_seconds,
            token_limit_of=self.token_limit_of,
            rates_of=self.rates_of,
            max_spend_per_day_usd=settings.max_spend_per_day,
            longest_pause_seconds=settings.longest_pause_seconds,
            close_at_once=self.close_at_once,
        )

    @property
    def retry_limits(self) -> RetryLimits:
        """How often a request is sent again."""
        return RetryLimits(attempts=self.settings.max_attempts, returns=self.settings.max_returns)


def _cost(price: Price, usage: pl.DataFrame) -> Decimal:
    """Sum first, price once; long requests have their own price and so their own sum."""
    threshold = price.long_above_tokens
    if threshold is None:
        return price.cost_usd(_sum(usage))
    short = _sum(usage.filter(pl.col("input_tokens") <= threshold))
    long = _sum(usage.filter(pl.col("input_tokens") > threshold))
    return replace(price, long_above_tokens=None).cost_usd(short) + price.cost_usd(long)


def _sum(usage: pl.DataFrame) -> TokenUsage:
    names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return TokenUsage(**{name: int(usage[name].sum() or 0) for name in names})


_chosen: list[Resources] = []


@contextmanager
def using(resources: Resources) -> Iterator[None]:
    """Let every step of this process work with these resources."""
    _chosen.append(resources)
    try:
        yield
    finally:
        _chosen.remove(resources)


def use(resources: Resources) -> None:
    """Let every step of this process work with these resources, to its end."""
    _chosen.append(resources)


def resources() -> Resources:
    """Return the resources of this process; without a choice, those of the environment.

    The second happens where Prefect is the entry point: in a worker, under `serve`, or in
    `python -m flows.ingestion`.
    """
    return _chosen[-1] if _chosen else _from_environment()


def our_batches(*states: BatchState) -> list[Batch]:
    """Return the batches of the configured account in these states, oldest first.

    Those of another account are left alone: this one can neither see nor pay for them.
    """
    return batches_in(resources().ledger, *states, account=resources().settings.account)


def due_for_next_try(batches: Iterable[Batch]) -> list[Batch]:
    """Return those of the batches whose pause is over."""
    at, longest_seconds = now(), resources().settings.longest_pause_seconds
    return [
        batch for batch in batches if is_due(batch.not_before, at, longest_seconds=longest_seconds)
    ]


@lru_cache(maxsize=1)
def _from_environment() -> Resources:
    return Resources(Settings())
