"""The first page: what came in, what was brought, what was saved, what failed, what waits."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from storage.ledger import Transaction
from storage.reports.attention import attention_list
from storage.reports.buckets import rolling
from storage.reports.money import PRICED_BATCHES, SUMS, known_prices
from storage.reports.terms import Terms
from storage.token_caps import read_token_caps

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_HOURS: Final = 24
_RESULTS: Final = """
(SELECT state, rows, delivered_at AS ended_at FROM parts
UNION ALL SELECT state, 1, finished_at FROM deliveries)
"""
_OPEN_BATCHES: Final = """
SELECT CASE WHEN state IN ('submitted', 'ended') THEN state
        WHEN state IN ('planned', 'uploaded') AND not_before > $1::TIMESTAMP THEN 'held_back'
        WHEN state = 'uploaded' AND (token_refusals > 0
            OR coalesce(wait_reason IN ('capacity', 'backoff'), false)) THEN 'held_back'
        ELSE 'being_sent' END AS step,
    sum(requests)::BIGINT AS requests, count(*) AS batches
FROM batches JOIN lanes USING (lane_id)
WHERE state NOT IN ('collected', 'failed', 'cancelled') GROUP BY step
"""


def received_tile(reader: Transaction, *, at: datetime) -> dict[str, Any]:
    """Return how many requests came in within 24 h and the 24 h before, and hour by hour."""
    rows = reader.rows(
        "SELECT (epoch_us($1::TIMESTAMP) - epoch_us(accepted_at)) // 3600000000 AS pieces_ago, "
        "count(*) AS value FROM requests "
        "WHERE accepted_at > $2::TIMESTAMP AND accepted_at <= $1::TIMESTAMP GROUP BY ALL",
        at, at - 2 * _DAY,
    )  # fmt: skip
    received = sum(row["value"] for row in rows if row["pieces_ago"] < _HOURS)
    before = sum(row["value"] for row in rows) - received
    return {
        "received": received,
        "received_the_day_before": before,
        "change_share": (received - before) / before if before else None,
        "series": rolling(rows, until=at, piece=_HOUR, pieces=_HOURS),
    }


def delivered_tile(reader: Transaction, *, at: datetime) -> dict[str, Any]:
    """Return which share of all results is delivered, how many wait, and hour by hour."""
    states = {
        row["state"]: row["results"]
        for row in reader.rows(
            f"SELECT state, sum(rows)::BIGINT AS results FROM {_RESULTS} GROUP BY state"
        )
    }
    total = sum(states.values())
    return {
        "delivered": states.get("delivered", 0),
        "waiting": states.get("pending", 0),
        "exhausted": states.get("exhausted", 0),
        "cancelled": states.get("cancelled", 0),
        "delivered_share": states.get("delivered", 0) / total if total else None,
        "series": _results_by_hour(reader, "delivered", at),
    }


def savings_tile(
    reader: Transaction, *, at: datetime, terms: Terms, days: int = 30
) -> dict[str, Any]:
    """Return what the batches of the last days cost and saved, in all and day by day.

    None is unknown: no batch, or none with a known price. Unpriced batches are counted apart.
    """
    since = at - days * _DAY
    with known_prices(reader, terms.prices):
        total = reader.row(
            f"SELECT count(*) AS batches, {SUMS} FROM {PRICED_BATCHES} "
            "WHERE state = 'collected' AND finished_at > ?::TIMESTAMP",
            since,
        )
        rows = reader.rows(
            "SELECT (epoch_us($1::TIMESTAMP) - epoch_us(finished_at)) // 86400000000 "
            f"AS pieces_ago, sum(synchronous_usd - cost_usd) AS value FROM {PRICED_BATCHES} "
            "WHERE state = 'collected' AND finished_at > $2::TIMESTAMP GROUP BY ALL",
            at, since,
        )  # fmt: skip
    series = rolling(rows, until=at, piece=_DAY, pieces=days, zero=0.0)
    return {**(total or {}), "days": days, "series": series}


def dead_letters_tile(reader: Transaction, *, at: datetime) -> dict[str, Any]:
    """Return how many deliveries are exhausted, how many targets fail, and hour by hour."""
    found = reader.row(
        "SELECT (SELECT count(*) FROM deliveries WHERE state = 'exhausted') AS dead_letters, "
        "(SELECT count(*) FROM targets WHERE failing_since IS NOT NULL OR target IN "
        "(SELECT target FROM destinations WHERE disabled_at IS NOT NULL)) AS failing_targets"
    )
    return {**(found or {}), "series": _results_by_hour(reader, "exhausted", at)}


def pipeline_strip(reader: Transaction, *, at: datetime) -> dict[str, Any]:
    """Return how many requests stand at each step from intake to delivery now.

    `held_back` are in batches that were made and may not be sent yet; like the pending ones whose
    lane has no capacity or backs off, they are part of `waiting_for_capacity`.
    """
    reasons = _pending_by_reason(reader)
    batched = {row["step"]: row for row in reader.rows(_OPEN_BATCHES, at)}
    requests = {step: row["requests"] for step, row in batched.items()}
    held_back = requests.get("held_back", 0)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    results = reader.row(
        "SELECT coalesce(sum(rows) FILTER (WHERE state = 'pending'), 0)::BIGINT AS delivering, "
        "coalesce(sum(rows) FILTER (WHERE state = 'delivered' AND ended_at >= ?::TIMESTAMP), 0)"
        f"::BIGINT AS delivered_today FROM {_RESULTS}",
        midnight,
    )
    return {
        "pending": sum(reasons.values()),
        "waiting_by_reason": reasons,
        "waiting_for_capacity": reasons.get("capacity", 0) + reasons.get("backoff", 0) + held_back,
        "held_back": held_back,
        "being_sent": requests.get("being_sent", 0),
        "at_provider": requests.get("submitted", 0),
        "being_collected": requests.get("ended", 0),
        "open_batches": sum(row["batches"] for row in batched.values()),
        "batches_at_provider": sum(
            batched[step]["batches"] for step in ("submitted", "ended") if step in batched
        ),
        **(results or {}),
        "needs_attention": len(attention_list(reader, at=at)),
    }


def enqueued_by_lane(reader: Transaction, *, terms: Terms) -> list[dict[str, Any]]:
    """Return each lane's tokens at the provider against its limit, the fullest first.

    Where no limit is known, `token_limit` and `used_share` are None.
    """
    rows = reader.rows(
        """
        SELECT lane_id, account, endpoint, model, learned_limit, paused, wait_reason,
            wait_detail, waiting_since, backoff_until,
            coalesce(enqueued_tokens, 0) AS enqueued_tokens, coalesce(batches, 0) AS batches
        FROM lanes LEFT JOIN (
            SELECT lane_id, sum(tokens)::BIGINT AS enqueued_tokens, count(*) AS batches
            FROM batches WHERE state IN ('submitting', 'submitted') GROUP BY lane_id
        ) USING (lane_id)
        """
    )
    caps = read_token_caps(reader)
    lanes = [_with_limit(row, terms, caps) for row in rows]
    return sorted(lanes, key=lambda lane: (-(lane["used_share"] or 0), lane["lane_id"]))


def overview_report(reader: Transaction, *, at: datetime, terms: Terms) -> dict[str, Any]:
    """Return the tiles, the pipeline strip and the list of what needs attention together."""
    return {
        "received": received_tile(reader, at=at),
        "delivered": delivered_tile(reader, at=at),
        "savings": savings_tile(reader, at=at, terms=terms),
        "dead_letters": dead_letters_tile(reader, at=at),
        "pipeline": pipeline_strip(reader, at=at),
        "enqueued": enqueued_by_lane(reader, terms=terms),
        "attention": attention_list(reader, at=at),
    }


def _results_by_hour(reader: Transaction, state: str, at: datetime) -> list[dict[str, Any]]:
    rows = reader.rows(
        "SELECT (epoch_us($1::TIMESTAMP) - epoch_us(ended_at)) // 3600000000 AS pieces_ago, "
        f"sum(rows)::BIGINT AS value FROM {_RESULTS} WHERE state = $3 "
        "AND ended_at > $2::TIMESTAMP AND ended_at <= $1::TIMESTAMP GROUP BY ALL",
        at, at - _DAY, state,
    )  # fmt: skip
    return rolling(rows, until=at, piece=_HOUR, pieces=_HOURS)


def _pending_by_reason(reader: Transaction) -> dict[str, int]:
    """Return the pending requests by why they wait; `filling` until the lane was looked at."""
    rows = reader.rows(
        """
        SELECT CASE WHEN jobs.paused OR lanes.paused THEN 'paused'
            ELSE coalesce(wait_reason, 'filling') END AS reason, sum(requests)::BIGINT AS requests
        FROM (SELECT lane_id, job_id, count(*) AS requests FROM requests
            WHERE state = 'pending' GROUP BY lane_id, job_id)
            JOIN lanes USING (lane_id) JOIN jobs USING (job_id)
        GROUP BY reason ORDER BY reason
        """
    )
    return {row["reason"]: row["requests"] for row in rows}


def _with_limit(lane: dict[str, Any], terms: Terms, caps: Mapping[str, int]) -> dict[str, Any]:
    limit = terms.limit_in_force(lane["model"], learned=lane.pop("learned_limit"), caps=caps)
    used = lane["enqueued_tokens"] / limit.tokens if limit.tokens else None
    return lane | {
        "token_limit": limit.tokens, "limit_source": limit.source.value, "used_share": used,
    }  # fmt: skip
