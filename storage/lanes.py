"""Lanes: what waits in each, what they may send, and why they wait."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batching.clock import PUT_BACK_SECONDS, is_due
from batching.planning import BatchLimits, LaneView, TokenRates, Wait
from batching.retry import LONGEST_ASKED_SECONDS, growing_pause_seconds
from batching.token_limits import TokenLimit, capped
from storage.ledger import Ledger, Transaction, now
from storage.submission_lock import submission_lock
from storage.token_caps import read_token_caps

CAUTION_ENDS_TOKENS = 1_000_000_000_000
"""No lane is so large: a bound that has grown to this holds nothing back."""

LIVE_STATES = "('planned', 'uploaded', 'submitting', 'submitted')"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionPolicy:
    """How the settings bear on what lanes may send."""

    account: str
    """The one that sends now; what waits for another one stays where it is."""
    limits: BatchLimits
    max_wait_seconds: float
    token_limit_of: Callable[[str, int | None], TokenLimit]
    """From a model and the limit learned from the provider; the caps in the ledger come on top."""
    rates_of: Callable[[str], TokenRates | None]
    max_spend_per_day_usd: Decimal | None
    longest_pause_seconds: float
    """No lane is held back for longer by a refusal."""
    close_at_once: bool = False
    """Every pending request is due now (`obm run`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One lane with its view at this moment."""

    lane_id: int
    account: str
    endpoint: str
    model: str
    view: LaneView
    wait_reason: str | None
    """Why it waited when that was last recorded."""


LONGEST_WAIT_SECONDS = 1_000_000_000
"""A job may ask for any number of seconds; more than this cannot be added to a date."""

_PENDING = f"""
WITH grouped AS (
    SELECT lane_id, job_id, count(*) AS requests, sum(wire_bytes) AS bytes,
        sum(tokens) AS tokens, sum(embedding_inputs) AS embedding_inputs,
        min(accepted_at) AS oldest,
        min({{'segment': segment, 'row_index': row_index, 'tokens': tokens,
            'output_tokens': expected_output_tokens}}) AS first_request
    FROM requests
    WHERE state = 'pending'
    GROUP BY lane_id, job_id
)
SELECT lane_id, sum(requests)::BIGINT AS pending_requests, sum(bytes)::BIGINT AS pending_bytes,
    sum(grouped.tokens)::BIGINT AS pending_tokens,
    sum(embedding_inputs)::BIGINT AS pending_embedding_inputs,
    min(first_request).tokens AS first_tokens,
    min(first_request).output_tokens AS first_output_tokens, min(oldest) AS oldest,
    bool_or(
        oldest + to_microseconds(
            (least(coalesce(max_wait_seconds, $1), {LONGEST_WAIT_SECONDS}) * 1e6)::BIGINT) <= $2
        OR oldest > $2::TIMESTAMP + to_seconds({PUT_BACK_SECONDS})
        OR coalesce(flush_requested_at >= oldest, false)
    ) AS due
FROM grouped JOIN jobs USING (job_id)
WHERE NOT jobs.paused
GROUP BY lane_id
"""

_LANES = f"""
SELECT lanes.*, pending.* EXCLUDE (lane_id), accounts.trouble,
    coalesce(live.tokens, 0) AS live_tokens, coalesce(live.unsent, 0) AS unsent_batches
FROM lanes
LEFT JOIN ({_PENDING}) AS pending USING (lane_id)
LEFT JOIN accounts USING (account)
LEFT JOIN (
    SELECT lane_id, sum(tokens)::BIGINT AS tokens,
        count(*) FILTER (WHERE state IN ('planned', 'uploaded')
            AND (not_before IS NOT NULL OR failures > 0)) AS unsent
    FROM batches WHERE state IN {LIVE_STATES} GROUP BY lane_id
) AS live USING (lane_id)
WHERE lanes.account = $3
ORDER BY pending.oldest NULLS LAST, lane_id
"""


def read_lanes(reader: Transaction, policy: SubmissionPolicy, *, at: datetime) -> list[Lane]:
    """Return every lane, the one with the oldest pending request first."""
    lock = submission_lock(reader)
    held = None if lock is None else lock.sentence
    caps = read_token_caps(reader)
    return [
        _lane(row, policy, held=held, caps=caps, at=at)
        for row in reader.rows(_LANES, policy.max_wait_seconds, at, policy.account)
    ]


def _lane(
    row: Mapping[str, Any],
    policy: SubmissionPolicy,
    *,
    held: str | None,
    caps: Mapping[str, int],
    at: datetime,
) -> Lane:
    limit = _limit_of(row, policy.token_limit_of, caps)
    until = row["backoff_until"]
    may_go = is_due(until, at, longest_seconds=policy.longest_pause_seconds)
    view = LaneView(
        pending_requests=row["pending_requests"] or 0,
        pending_bytes=row["pending_bytes"] or 0,
        pending_tokens=row["pending_tokens"] or 0,
        pending_embedding_inputs=row["pending_embedding_inputs"] or 0,
        first_tokens=row["first_tokens"] or 0,
        first_output_tokens=row["first_output_tokens"] or 0,
        due=policy.close_at_once or bool(row["due"]),
        live_tokens=row["live_tokens"],
        unsent_batches=row["unsent_batches"],
        paused=row["paused"],
        account_trouble=row["trouble"] or held,
        backoff_until=None if may_go else until,
        token_limit=limit.tokens,
        token_limit_certain=limit.certain,
        cautious_tokens=row["cautious_tokens"],
        rates=policy.rates_of(row["model"]),
    )
    return Lane(
        lane_id=row["lane_id"],
        account=row["account"],
        endpoint=row["endpoint"],
        model=row["model"],
        view=view,
        wait_reason=row["wait_reason"],
    )


def _limit_of(
    lane: Mapping[str, Any],
    token_limit_of: Callable[[str, int | None], TokenLimit],
    caps: Mapping[str, int],
) -> TokenLimit:
    model, learned = lane["model"], lane["learned_limit"]
    return capped(token_limit_of(model, learned), model, learned=learned, caps=caps)


def budget_left_usd(
    reader: Transaction, policy: SubmissionPolicy, *, at: datetime
) -> Decimal | None:
    """Return what may still be committed this UTC day; None without a limit."""
    if policy.max_spend_per_day_usd is None:
        return None
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    spent = reader.value(
        """
        SELECT sum(coalesce(cost_usd, expected_cost_usd)) FROM batches
        WHERE state IN ('planned', 'uploaded') OR (intent_at >= ? AND intent_at < ?)
        """,
        midnight,
        midnight + timedelta(days=1),
    )
    return policy.max_spend_per_day_usd - (spent or Decimal(0))


def record_wait(transaction: Transaction, lane_id: int, wait: Wait | None) -> None:
    """Store why a lane waits; since when stays as long as the reason does."""
    transaction.execute(
        """
        UPDATE lanes SET wait_reason = $1::VARCHAR, wait_detail = $2::VARCHAR,
            waiting_since = CASE
                WHEN $1::VARCHAR IS NULL THEN NULL
                WHEN wait_reason IS NOT DISTINCT FROM $1::VARCHAR THEN waiting_since
                ELSE $3::TIMESTAMP END
        WHERE lane_id = $4 AND (wait_reason IS DISTINCT FROM $1::VARCHAR
            OR wait_detail IS DISTINCT FROM $2::VARCHAR)
        """,
        wait.reason.value if wait else None,
        wait.detail if wait else None,
        now(),
        lane_id,
    )


def back_off(
    transaction: Transaction,
    lane_id: int,
    *,
    first_seconds: float,
    longest_seconds: float,
    at_least_seconds: float = 0.0,
    learned_limit: int | None = None,
) -> datetime:
    """Count a refusal of the lane and return until when it pauses; keep a limit it taught."""
    refusals = transaction.value("SELECT refusals FROM lanes WHERE lane_id = ?", lane_id) + 1
    pause_seconds = growing_pause_seconds(
        refusals, first_seconds=first_seconds, longest_seconds=longest_seconds
    )
    asked_seconds = min(at_least_seconds, LONGEST_ASKED_SECONDS)
    until = now() + timedelta(seconds=max(pause_seconds, asked_seconds))
    transaction.execute(
        "UPDATE lanes SET refusals = ?, backoff_until = ? WHERE lane_id = ?",
        refusals, until, lane_id,
    )  # fmt: skip
    if learned_limit:  # a limit of 0 would fail every request: it says nothing
        transaction.execute(
            "UPDATE lanes SET learned_limit = ?, learned_at = ? WHERE lane_id = ?",
            learned_limit, now(), lane_id,
        )  # fmt: skip
    return until


def forget_learned_limits(ledger: Ledger, *, before: datetime) -> int:
    """Forget limits that were learned earlier: the account's tier may have been raised since."""
    with ledger.transaction() as transaction:
        return transaction.execute(
            "UPDATE lanes SET learned_limit = NULL, learned_at = NULL WHERE learned_at < ?", before
        )


def be_cautious(transaction: Transaction, lane_id: int, *, tokens: int) -> None:
    """Keep the lane's next batches below so many tokens."""
    transaction.execute("UPDATE lanes SET cautious_tokens = ? WHERE lane_id = ?", tokens, lane_id)


def end_backoff(transaction: Transaction, lane_id: int) -> None:
    """Forget the lane's refusals: the provider has accepted a batch of it, or ended one."""
    transaction.execute(
        "UPDATE lanes SET refusals = 0, backoff_until = NULL WHERE lane_id = ? AND refusals > 0",
        lane_id,
    )


def ease_caution(transaction: Transaction, lane_id: int) -> None:
    """Let the lane's next batches be twice as large, until caution means nothing any more."""
    transaction.execute(
        "UPDATE lanes SET cautious_tokens = "
        "CASE WHEN cautious_tokens < ? THEN cautious_tokens * 2 END "
        "WHERE lane_id = ? AND cautious_tokens IS NOT NULL",
        CAUTION_ENDS_TOKENS, lane_id,
    )  # fmt: skip


def set_paused(ledger: Ledger, lane_id: int, *, paused: bool, actor: str) -> bool:
    """Pause or resume a lane; return whether that changed anything."""
    with ledger.transaction() as transaction:
        changed = transaction.execute(
            "UPDATE lanes SET paused = ? WHERE lane_id = ? AND paused <> ?",
            paused, lane_id, paused,
        )  # fmt: skip
        if changed:
            target = "paused" if paused else "running"
            transaction.record_move("lane", lane_id, target, actor=actor)
        return bool(changed)


def nothing_else_live(transaction: Transaction, lane_id: int, batch_id: int) -> bool:
    """Return whether this batch is the only one of its lane on its way."""
    others = transaction.value(
        f"SELECT count(*) FROM batches WHERE lane_id = ? AND batch_id <> ? "
        f"AND state IN {LIVE_STATES}",
        lane_id, batch_id,
    )  # fmt: skip
    return not others


def room_for(
    reader: Transaction,
    batch_id: int,
    *,
    token_limit_of: Callable[[str, int | None], TokenLimit],
    longest_pause_seconds: float,
) -> bool:
    """Return whether an uploaded batch may be created: its lane is open and has the room.

    A pause that would last longer than any was begun before the clock was put back.
    A batch larger than the limit itself may go when nothing else is enqueued.
    """
    row = reader.row(
        """
        SELECT batches.tokens, model, learned_limit, backoff_until, lanes.paused,
            trouble IS NOT NULL AND probe_batch_id IS DISTINCT FROM batch_id AS stopped,
            coalesce((SELECT sum(enqueued.tokens)::BIGINT FROM batches AS enqueued
                WHERE enqueued.lane_id = lanes.lane_id
                    AND enqueued.state IN ('submitting', 'submitted')), 0) AS enqueued_tokens
        FROM batches JOIN lanes USING (lane_id) LEFT JOIN accounts USING (account)
        WHERE batch_id = ? AND state = 'uploaded'
        """,
        batch_id,
    )
    if row is None or row["paused"] or row["stopped"] or submission_lock(reader):
        return False
    if not is_due(row["backoff_until"], now(), longest_seconds=longest_pause_seconds):
        return False
    limit = _limit_of(row, token_limit_of, read_token_caps(reader)).tokens
    enqueued = int(row["enqueued_tokens"])
    return limit is None or enqueued == 0 or enqueued + int(row["tokens"]) <= limit
