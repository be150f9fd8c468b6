"""Claiming: which requests of a lane become the next batch."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from batching.lifecycle import BatchState
from batching.planning import Claim, decide, expected_cost_usd
from storage.accounts import live_probe
from storage.lanes import Lane, SubmissionPolicy, budget_left_usd, read_lanes, record_wait
from storage.ledger import Ledger, Transaction, now
from storage.submission_lock import last_batch_number


def claim_next(ledger: Ledger, policy: SubmissionPolicy) -> int | None:
    """Claim one batch of the lane whose oldest request waits longest; None if none may go.

    Every other lane gets the reason why it waits. Requests above a certain token limit fail
    here with that reason: no batch could ever hold them.
    """
    at = now()
    with ledger.transaction() as transaction:
        budget_usd = budget_left_usd(transaction, policy, at=at)
        for lane in _sendable_lanes(transaction, policy, at):
            decision = decide(lane.view, limits=policy.limits, budget_usd=budget_usd, at=at)
            if isinstance(decision, Claim):
                batch_id = _claim(transaction, lane, decision)
                if batch_id is not None:
                    record_wait(transaction, lane.lane_id, None)
                    return batch_id
                decision = None
            record_wait(transaction, lane.lane_id, decision)
    return None


def claim_probe(ledger: Ledger, policy: SubmissionPolicy) -> int | None:
    """Choose the batch with which a stopped account is tried; None if nothing can be sent.

    One pending request is enough; only if none is pending it is a batch that was not sent.
    """
    at = now()
    with ledger.transaction() as transaction:
        if (probe := live_probe(transaction, policy.account)) is not None:
            return probe
        probe = _one_request(transaction, policy, at) or _smallest_unsent(transaction, policy)
        transaction.execute(
            "UPDATE accounts SET probe_batch_id = ? WHERE account = ? AND trouble IS NOT NULL",
            probe, policy.account,
        )  # fmt: skip
        return probe


def _one_request(transaction: Transaction, policy: SubmissionPolicy, at: datetime) -> int | None:
    budget_usd = budget_left_usd(transaction, policy, at=at)
    one = replace(policy.limits, requests=1)
    for lane in _sendable_lanes(transaction, policy, at):
        free = replace(lane.view, account_trouble=None, backoff_until=None, unsent_batches=0)
        decision = decide(replace(free, due=True), limits=one, budget_usd=budget_usd, at=at)
        if isinstance(decision, Claim):
            return _claim(transaction, lane, decision)
    return None


def _smallest_unsent(transaction: Transaction, policy: SubmissionPolicy) -> int | None:
    found = transaction.value(
        "SELECT batch_id FROM batches JOIN lanes USING (lane_id) "
        "WHERE account = ? AND state IN ('planned', 'uploaded') AND NOT paused "
        "ORDER BY requests, batch_id LIMIT 1",
        policy.account,
    )
    return None if found is None else int(found)


def _sendable_lanes(transaction: Transaction, policy: SubmissionPolicy, at: datetime) -> list[Lane]:
    """Return the lanes after failing what is above a certain token limit."""
    lanes = read_lanes(transaction, policy, at=at)
    failed = sum(_fail_oversized(transaction, lane) for lane in lanes)
    return read_lanes(transaction, policy, at=at) if failed else lanes


def _fail_oversized(transaction: Transaction, lane: Lane) -> int:
    if lane.view.token_limit is None or not lane.view.token_limit_certain:
        return 0
    return transaction.execute(
        "UPDATE requests SET state = 'failed', finished_at = ?, "
        "error_code = 'obm_request_exceeds_token_limit' "
        "WHERE state = 'pending' AND lane_id = ? AND tokens > ?",
        now(), lane.lane_id, lane.view.token_limit,
    )  # fmt: skip


_CLAIMABLE = """
CREATE OR REPLACE TEMP TABLE claimable AS
WITH candidate AS (
    SELECT requests.rowid AS place, segment, row_index, wire_bytes, tokens,
        embedding_inputs, expected_output_tokens
    FROM requests JOIN jobs USING (job_id)
    WHERE state = 'pending' AND lane_id = $1 AND NOT jobs.paused
    ORDER BY segment, row_index
    LIMIT $2
)
SELECT place, wire_bytes, tokens, embedding_inputs, expected_output_tokens
FROM (
    SELECT *, sum(wire_bytes) OVER sofar AS bytes_sofar, sum(tokens) OVER sofar AS tokens_sofar,
        sum(embedding_inputs) OVER sofar AS inputs_sofar,
        sum(tokens * $6::DOUBLE + expected_output_tokens * $7::DOUBLE) OVER sofar AS spend_sofar,
        row_number() OVER sofar AS number
    FROM candidate
    WINDOW sofar AS (ORDER BY segment, row_index ROWS UNBOUNDED PRECEDING)
)
-- The first goes whatever its size, as `decide` has found that it may: a request that no batch
-- has room for would otherwise stand before all others for ever.
WHERE number = 1 OR (bytes_sofar <= $3 AND inputs_sofar <= $4
    AND ($5::BIGINT IS NULL OR tokens_sofar <= $5::BIGINT)
    AND ($8::DOUBLE IS NULL OR spend_sofar <= $8::DOUBLE))
"""


def _claim(transaction: Transaction, lane: Lane, claim: Claim) -> int | None:
    rates = claim.rates
    transaction.execute(
        _CLAIMABLE,
        lane.lane_id,
        claim.requests,
        claim.bytes,
        claim.embedding_inputs,
        claim.tokens,
        float(rates.input_usd) if rates else 0.0,
        float(rates.output_usd) if rates else 0.0,
        None if claim.spend_usd is None else float(claim.spend_usd),
    )
    totals = transaction.row(
        "SELECT count(*) AS requests, sum(wire_bytes)::BIGINT AS bytes, "
        "sum(tokens)::BIGINT AS tokens, sum(embedding_inputs)::BIGINT AS embedding_inputs, "
        "sum(expected_output_tokens)::BIGINT AS output_tokens FROM claimable"
    )
    if totals is None or totals["requests"] == 0:
        return None
    cost = None
    if rates is not None:
        cost = expected_cost_usd(
            rates, tokens=totals["tokens"], output_tokens=totals["output_tokens"]
        )
    return _plan(transaction, lane.lane_id, claim.reason, totals, cost)


def _plan(
    transaction: Transaction,
    lane_id: int,
    reason: str,
    totals: Mapping[str, Any],
    cost_usd: Decimal | None,
) -> int:
    batch_id = last_batch_number(transaction) + 1
    transaction.execute(
        """
        INSERT INTO batches (batch_id, lane_id, state, closed_because, requests, bytes, tokens,
            expected_output_tokens, embedding_inputs, expected_cost_usd, create_attempt,
            token_refusals, failures, cancel_requested, planned_at)
        VALUES (?, ?, 'planned', ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, false, ?)
        """,
        batch_id, lane_id, reason, totals["requests"], totals["bytes"], totals["tokens"],
        totals["output_tokens"], totals["embedding_inputs"], cost_usd, now(),
    )  # fmt: skip
    transaction.execute(
        "UPDATE requests SET state = 'batched', batch_id = ? "
        "WHERE rowid IN (SELECT place FROM claimable) AND state = 'pending'",
        batch_id,
    )
    transaction.record_move("batch", batch_id, BatchState.PLANNED, reason=reason)
    return int(batch_id)
