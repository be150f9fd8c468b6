"""What a lane sends now, and if nothing, why: decided from figures alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from batching.lifecycle import WaitReason

WORTHWHILE_SHARE = 4
"""A batch smaller than wanted goes out only if it fills a quarter of what is wanted:
slivers of free capacity would otherwise become many tiny batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """The most that one batch may hold, whatever the lane."""

    requests: int
    bytes: int
    embedding_inputs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRates:
    """Expected cost of a token at batch price, in USD."""

    input_usd: Decimal
    output_usd: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneView:
    """All that decides about a lane at one moment."""

    pending_requests: int
    pending_bytes: int
    pending_tokens: int
    pending_embedding_inputs: int
    first_tokens: int
    """Tokens of the oldest pending request, which goes first whatever its size."""
    first_output_tokens: int
    due: bool
    """Whether the oldest request has waited long enough, or somebody asked for it."""
    live_tokens: int
    """Tokens of its batches that are not yet at their end."""
    unsent_batches: int
    """Batches that were refused or interrupted and go before new ones."""
    paused: bool
    account_trouble: str | None
    backoff_until: datetime | None
    token_limit: int | None
    token_limit_certain: bool
    cautious_tokens: int | None
    """A batch is kept below this, since a larger one was refused though it seemed to fit."""
    rates: TokenRates | None
    """None: the price of the model is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Send a batch now, at most so big."""

    reason: str
    requests: int
    bytes: int
    embedding_inputs: int
    tokens: int | None
    spend_usd: Decimal | None
    rates: TokenRates | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Send nothing now, for this reason."""

    reason: WaitReason
    detail: str
    until: datetime | None = None


def decide(
    lane: LaneView, *, limits: BatchLimits, budget_usd: Decimal | None, at: datetime
) -> Claim | Wait | None:
    """Return what the lane does now; None if it has nothing pending.

    `budget_usd` is what may still be committed today; None means without limit.
    """
    if lane.pending_requests == 0:
        return None
    return (
        _held(lane, at=at)
        or _filling(lane, limits)
        or _without_capacity(lane, limits)
        or _over_budget(lane, budget_usd, at=at)
        or _claim(lane, limits, budget_usd)
    )


def _held(lane: LaneView, *, at: datetime) -> Wait | None:
    if lane.account_trouble:
        return Wait(reason=WaitReason.ACCOUNT, detail=lane.account_trouble)
    if lane.paused:
        return Wait(reason=WaitReason.PAUSED, detail="paused by an operator")
    if lane.backoff_until and lane.backoff_until > at:
        return Wait(
            reason=WaitReason.BACKOFF,
            detail="the provider asked for a pause",
            until=lane.backoff_until,
        )
    if lane.unsent_batches:
        return Wait(
            reason=WaitReason.CAPACITY,
            detail=f"{lane.unsent_batches} earlier batch(es) of this lane go first",
        )
    return None


def _filling(lane: LaneView, limits: BatchLimits) -> Wait | None:
    if lane.due or is_full(lane, limits):
        return None
    return Wait(
        reason=WaitReason.FILLING,
        detail="fills up until a limit is reached or its oldest request has waited long enough",
    )


def is_full(lane: LaneView, limits: BatchLimits) -> bool:
    """Return whether the pending requests reach a limit of one batch."""
    return (
        lane.pending_requests >= limits.requests
        or lane.pending_bytes >= limits.bytes
        or lane.pending_embedding_inputs >= limits.embedding_inputs
        or (lane.token_limit is not None and lane.pending_tokens >= lane.token_limit)
    )


def headroom_tokens(lane: LaneView) -> int | None:
    """Return the tokens that still fit into the lane; None if it has no known limit."""
    return None if lane.token_limit is None else lane.token_limit - lane.live_tokens


def _most_tokens(lane: LaneView) -> int | None:
    """Return how many tokens the next batch may hold; its first request always fits."""
    bounds = [bound for bound in (headroom_tokens(lane), lane.cautious_tokens) if bound is not None]
    return max(min(bounds), lane.first_tokens) if bounds else None


def _without_capacity(lane: LaneView, limits: BatchLimits) -> Wait | None:
    headroom = headroom_tokens(lane)
    if headroom is None or _goes_alone(lane):
        return None
    share = min(1.0, limits.requests / lane.pending_requests)
    wanted = min(int(lane.pending_tokens * share), lane.token_limit or 0)
    worthwhile = max(lane.first_tokens, wanted // WORTHWHILE_SHARE)
    if headroom >= worthwhile:
        return None
    return Wait(
        reason=WaitReason.CAPACITY,
        detail=f"{lane.live_tokens:,} of {lane.token_limit:,} enqueued tokens are in use",
    )


def _goes_alone(lane: LaneView) -> bool:
    """Tell whether the first request, above an uncertain limit, is tried by itself."""
    return (
        lane.token_limit is not None
        and lane.first_tokens > lane.token_limit
        and not lane.token_limit_certain
        and lane.live_tokens == 0
    )


def _over_budget(lane: LaneView, budget_usd: Decimal | None, *, at: datetime) -> Wait | None:
    if budget_usd is None:
        return None
    if lane.rates is None:
        return Wait(
            reason=WaitReason.BUDGET,
            detail="the price of this model is not known, so the daily limit cannot be kept: "
            "add it to OBM_PRICE_TABLE or lift OBM_MAX_SPEND_PER_DAY",
        )
    first = expected_cost_usd(
        lane.rates, tokens=lane.first_tokens, output_tokens=lane.first_output_tokens
    )
    if first <= budget_usd:
        return None
    midnight = (at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return Wait(
        reason=WaitReason.BUDGET,
        detail=f"{budget_usd:.4f} USD of the daily limit are left",
        until=midnight,
    )


def expected_cost_usd(rates: TokenRates, *, tokens: int, output_tokens: int) -> Decimal:
    """Return what so many tokens are expected to cost."""
    return rates.input_usd * tokens + rates.output_usd * output_tokens


def _claim(lane: LaneView, limits: BatchLimits, budget_usd: Decimal | None) -> Claim:
    alone = _goes_alone(lane)
    return Claim(
        reason="full" if is_full(lane, limits) else "due",
        requests=1 if alone else limits.requests,
        bytes=limits.bytes,
        embedding_inputs=limits.embedding_inputs,
        tokens=None if alone else _most_tokens(lane),
        spend_usd=budget_usd,
        rates=lane.rates,
    )
