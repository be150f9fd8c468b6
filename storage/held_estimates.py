"""What a file that waits would send and cost: worked out once, then kept beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from batching.estimates import Estimator, LaneEstimate, total_usd
from batching.requests import ReadingRules
from storage.durable import write_durably
from storage.estimates import FileEstimate, RefusedNumber, estimate_file
from storage.held_files import HeldFile
from storage.locks import exclusive_lock
from storage.reports.terms import Terms

_NAME: Final = ".estimate.json"
_LOCK: Final = ".estimate.lock"
_SHOWN_REFUSALS: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldLane:
    """What would go to one endpoint and model; money is None where no price is known."""

    endpoint: str
    model: str
    requests: int
    oversized: int
    """How many of them alone are above the token limit, and would fail."""
    bytes: int
    input_tokens: int
    output_tokens: int
    batches: int
    token_limit: int | None
    batch_usd: float | None
    synchronous_usd: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldEstimate:
    """What a file would send and cost."""

    accepted: int
    rejected: int
    first_refusals: tuple[RefusedNumber, ...]
    refused_because: str | None
    """Why the file as a whole would be refused."""
    lanes: tuple[HeldLane, ...]
    batches: int
    input_tokens: int
    output_tokens: int
    batch_usd: float | None
    synchronous_usd: float | None
    models_without_price: tuple[str, ...]
    prices_as_of: str | None


def read_estimate(held: HeldFile) -> HeldEstimate | None:
    """Return what was worked out for a file, None if that has not been done."""
    try:
        text = held.path.with_name(_NAME).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(text, type=HeldEstimate)


def estimate_held_file(
    held: HeldFile,
    *,
    terms: Terms,
    caps: Mapping[str, int],
    rules: ReadingRules,
    on_progress: Callable[[int], None],
) -> HeldEstimate:
    """Read the whole file, keep what it would send and cost, and return it.

    `caps` are those that operators have set. `on_progress` hears how many bytes have been read,
    and may raise to give up.
    """
    estimator = Estimator(
        limits=terms.limits,
        token_limit_of=lambda model: terms.limit_in_force(model, learned=None, caps=caps),
        prices=terms.prices,
    )
    estimator, lines = estimate_file(
        held.path, estimator, rules, shown_refusals=_SHOWN_REFUSALS, on_progress=on_progress
    )
    estimate = _summed(estimator, lines, prices_as_of=terms.prices.as_of)
    _keep(held, estimate)
    return estimate


def _summed(estimator: Estimator, lines: FileEstimate, *, prices_as_of: str | None) -> HeldEstimate:
    lanes = estimator.lanes()
    return HeldEstimate(
        accepted=lines.accepted,
        rejected=lines.rejected,
        first_refusals=lines.first_refusals,
        refused_because=lines.refused_because,
        lanes=tuple(_lane(lane) for lane in lanes),
        batches=sum(lane.batches for lane in lanes),
        input_tokens=sum(lane.input_tokens for lane in lanes),
        output_tokens=sum(lane.output_tokens for lane in lanes),
        batch_usd=_total(lanes, "batch_usd"),
        synchronous_usd=_total(lanes, "synchronous_usd"),
        models_without_price=tuple(
            sorted({lane.model for lane in lanes if lane.batch_usd is None})
        ),
        prices_as_of=prices_as_of,
    )


def _keep(held: HeldFile, estimate: HeldEstimate) -> None:
    """Write it down; the API's process and the dashboard's may come to the same end at once."""
    with exclusive_lock(held.path.with_name(_LOCK)):
        write_durably(held.path.with_name(_NAME), msgspec.json.encode(estimate))


def _lane(lane: LaneEstimate) -> HeldLane:
    return HeldLane(
        endpoint=lane.endpoint,
        model=lane.model,
        requests=lane.requests,
        oversized=lane.oversized,
        bytes=lane.bytes,
        input_tokens=lane.input_tokens,
        output_tokens=lane.output_tokens,
        batches=lane.batches,
        token_limit=lane.token_limit.tokens,
        batch_usd=None if lane.batch_usd is None else float(lane.batch_usd),
        synchronous_usd=None if lane.synchronous_usd is None else float(lane.synchronous_usd),
    )


def _total(lanes: Sequence[LaneEstimate], name: str) -> float | None:
    total = total_usd(getattr(lane, name) for lane in lanes)
    return None if total is None or not lanes else float(total)
