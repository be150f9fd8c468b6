"""The states of requests, batches and deliveries, and the only moves between them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class RequestState(StrEnum):
    """Where an accepted request stands; it is always in exactly one of these."""

    PENDING = "pending"
    """Waits for a batch of its lane."""
    BATCHED = "batched"
    """Belongs to a batch that has not been collected."""
    SUCCEEDED = "succeeded"
    """Answered with a 2xx status."""
    FAILED = "failed"
    """Ended with an error, the provider's or an `obm_` one."""
    CANCELLED = "cancelled"
    """Ended by an operator before it ran."""


class BatchState(StrEnum):
    """Where a batch stands; the provider's own status is a column beside it."""

    PLANNED = "planned"
    """Its requests are claimed; the input file is being written or uploaded."""
    UPLOADED = "uploaded"
    """The provider has the input file; no batch exists there yet."""
    SUBMITTING = "submitting"
    """The intent to create it is recorded; whether it exists is not known yet."""
    SUBMITTED = "submitted"
    """It exists at the provider and is polled."""
    ENDED = "ended"
    """The provider has finished with it; its files are to be collected."""
    COLLECTED = "collected"
    """Every request of it has its answer or went back to its lane."""
    FAILED = "failed"
    """The provider refused it as a whole, or it was lost."""
    CANCELLED = "cancelled"
    """Ended before it was created at the provider."""


class DeliveryState(StrEnum):
    """Where the duty to bring results to one destination stands."""

    PENDING = "pending"
    """Still to be brought, now or at its next attempt."""
    DELIVERED = "delivered"
    """The destination has it."""
    EXHAUSTED = "exhausted"
    """All attempts failed: the dead letter, which an operator can replay."""
    CANCELLED = "cancelled"
    """Given up by an operator."""


class WaitReason(StrEnum):
    """Why a lane with pending requests sends none now."""

    FILLING = "filling"
    """Its oldest request has not waited long enough and no limit is reached."""
    CAPACITY = "capacity"
    """The provider's enqueued-token limit has no room for the next batch."""
    BACKOFF = "backoff"
    """The provider refused or throttled it; the pause is still running."""
    BUDGET = "budget"
    """The day's spending limit would be passed."""
    PAUSED = "paused"
    """An operator paused it."""
    ACCOUNT = "account"
    """The provider refuses the account."""


REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.PENDING: frozenset(
        {RequestState.BATCHED, RequestState.FAILED, RequestState.CANCELLED}
    ),
    RequestState.BATCHED: frozenset(
        {
            RequestState.PENDING,
            RequestState.SUCCEEDED,
            RequestState.FAILED,
            RequestState.CANCELLED,
        }
    ),
    RequestState.SUCCEEDED: frozenset(),
    RequestState.FAILED: frozenset(),
    RequestState.CANCELLED: frozenset(),
}

OPERATOR_REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.FAILED: frozenset({RequestState.PENDING}),
    RequestState.CANCELLED: frozenset({RequestState.PENDING}),
}
"""Moves that only an operator makes (`obm retry`): they may buy an answer again."""

BATCH_TRANSITIONS: Mapping[BatchState, frozenset[BatchState]] = {
    BatchState.PLANNED: frozenset({BatchState.UPLOADED, BatchState.FAILED, BatchState.CANCELLED}),
    BatchState.UPLOADED: frozenset(
        {BatchState.SUBMITTING, BatchState.PLANNED, BatchState.FAILED, BatchState.CANCELLED}
    ),
    BatchState.SUBMITTING: frozenset(
        {BatchState.SUBMITTED, BatchState.UPLOADED, BatchState.PLANNED, BatchState.FAILED}
    ),
    BatchState.SUBMITTED: frozenset({BatchState.ENDED, BatchState.UPLOADED, BatchState.FAILED}),
    BatchState.ENDED: frozenset({BatchState.COLLECTED}),
    BatchState.COLLECTED: frozenset(),
    BatchState.FAILED: frozenset(),
    BatchState.CANCELLED: frozenset(),
}


class BatchWish(StrEnum):
    """What an operator may want of a batch; asked for again, it changes nothing."""

    CANCEL = "cancel"
    """End it; what has run by then is paid, fetched and delivered, the rest ends as cancelled."""
    RESTART = "restart"
    """Send again what failed with it as a whole; results that there are stay."""
    DELETE = "delete"
    """Delete its files on this machine; its results and its place in the ledger stay."""


WISHES_ALLOWED: Mapping[BatchWish, frozenset[BatchState]] = {
    BatchWish.CANCEL: frozenset(
        {BatchState.PLANNED, BatchState.UPLOADED, BatchState.SUBMITTING, BatchState.SUBMITTED}
    ),
    BatchWish.RESTART: frozenset({BatchState.FAILED}),
    BatchWish.DELETE: frozenset({BatchState.COLLECTED, BatchState.FAILED, BatchState.CANCELLED}),
}

DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {DeliveryState.DELIVERED, DeliveryState.EXHAUSTED, DeliveryState.CANCELLED}
    ),
    DeliveryState.DELIVERED: frozenset(),
    DeliveryState.EXHAUSTED: frozenset({DeliveryState.PENDING}),
    DeliveryState.CANCELLED: frozenset(),
}

OPERATOR_DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.DELIVERED: frozenset({DeliveryState.PENDING}),
    DeliveryState.EXHAUSTED: frozenset({DeliveryState.CANCELLED}),
}
"""Moves that only an operator makes: the receiver gets the same result again, or never."""

_State = TypeVar("_State", RequestState, BatchState, DeliveryState)


def final_states(table: Mapping[_State, frozenset[_State]]) -> frozenset[_State]:
    """Return the states of the table from which nothing leads away."""
    return frozenset(state for state, targets in table.items() if not targets)


def sources_of(table: Mapping[_State, frozenset[_State]], target: _State) -> tuple[_State, ...]:
    """Return the states that may move to the target: the guard of its storage verb."""
    return tuple(state for state, targets in table.items() if target in targets)


FINAL_REQUEST_STATES = final_states(REQUEST_TRANSITIONS)
FINAL_BATCH_STATES = final_states(BATCH_TRANSITIONS)
RESERVING_BATCH_STATES = frozenset({BatchState.SUBMITTING, BatchState.SUBMITTED})
"""What is reserved of a lane's capacity is the sum over batches in these states."""
