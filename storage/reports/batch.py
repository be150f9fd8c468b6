"""One batch with everything a page shows of it."""

from typing import Any, Final

from storage.batch_queries import batch_in_full
from storage.ledger import Transaction
from storage.reports.money import PRICED_BATCHES, known_prices
from storage.reports.terms import Terms
from storage.request_filter import RequestFilter, condition_of
from storage.request_queries import requests_under
from storage.token_caps import read_token_caps

_FIRST_REQUESTS: Final = 25
_IN_ORDER: Final = "requests.segment, requests.row_index"
_DELIVERY_STATES: Final = ("pending", "delivered", "exhausted", "cancelled")


def batch_report(reader: Transaction, batch_id: int, *, terms: Terms) -> dict[str, Any] | None:
    """Return one batch in full; None if there is none.

    Beside its own columns and `transitions` (oldest first): `jobs`, `request_states`,
    `first_requests` (a page of them, in input order), `deliveries` by state, `creates` (each id
    it had at the provider), `money` and `waiting`.
    """
    found = batch_in_full(reader, batch_id)
    if found is None:
        return None
    return found | {
        "jobs": _jobs(reader, batch_id),
        "request_states": _request_states(reader, batch_id),
        "first_requests": requests_under(
            reader,
            condition_of(RequestFilter(batch_id=batch_id)),
            order=_IN_ORDER,
            most=_FIRST_REQUESTS,
        ),
        "deliveries": _deliveries(reader, batch_id),
        "creates": reader.rows(
            "SELECT attempt, provider_id, recorded_at FROM creates WHERE batch_id = ? "
            "ORDER BY attempt, recorded_at",
            batch_id,
        ),
        "money": _money(reader, batch_id, terms),
        "waiting": why_it_waits(reader, batch_id, terms=terms),
    }


def why_it_waits(reader: Transaction, batch_id: int, *, terms: Terms) -> dict[str, Any] | None:
    """Return why the batch does not move on by itself now; None if it does, or has ended.

    `reason` is account, paused, backoff, retry, capacity, provider or cancelling; the rest
    are the facts behind it.
    """
    row = reader.row(
        """
        SELECT batches.state, batches.tokens, batches.failures, batches.not_before, fault_message,
            cancel_requested, next_poll_at, last_polled_at, provider_status, lane_id, model,
            learned_limit, backoff_until, lanes.paused, trouble,
            coalesce((SELECT sum(other.tokens)::BIGINT FROM batches AS other
                WHERE other.lane_id = lanes.lane_id AND other.batch_id <> batches.batch_id
                    AND other.state IN ('submitting', 'submitted')), 0) AS enqueued_by_others
        FROM batches JOIN lanes USING (lane_id) LEFT JOIN accounts USING (account)
        WHERE batch_id = ? AND batches.state NOT IN ('collected', 'failed', 'cancelled')
        """,
        batch_id,
    )
    if row is None:
        return None
    limit = terms.limit_in_force(
        row["model"], learned=row.pop("learned_limit"), caps=read_token_caps(reader)
    )
    facts = row | {"token_limit": limit.tokens, "limit_source": limit.source.value}
    reason = _reason(facts)
    return None if reason is None else {"reason": reason, **facts}


def _reason(facts: dict[str, Any]) -> str | None:
    unsent = facts["state"] in {"planned", "uploaded"}
    needed = facts["enqueued_by_others"] + facts["tokens"]
    reasons = {
        "account": facts["trouble"] is not None,
        "cancelling": facts["cancel_requested"],
        "paused": unsent and facts["paused"],
        "retry": facts["not_before"] is not None and facts["failures"] > 0,
        "backoff": unsent and (facts["not_before"] or facts["backoff_until"]) is not None,
        "capacity": facts["state"] == "uploaded"
        and facts["token_limit"] is not None
        and facts["enqueued_by_others"] > 0
        and needed > facts["token_limit"],
        "provider": facts["state"] == "submitted",
    }
    return next((name for name, holds in reasons.items() if holds), None)


def _jobs(reader: Transaction, batch_id: int) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT name AS job, requests FROM jobs JOIN (SELECT job_id, count(*) AS requests "
        "FROM requests WHERE batch_id = ? GROUP BY job_id) USING (job_id) "
        "ORDER BY requests DESC, name",
        batch_id,
    )


def _request_states(reader: Transaction, batch_id: int) -> dict[str, int]:
    rows = reader.rows(
        "SELECT state, count(*) AS requests FROM requests WHERE batch_id = ? GROUP BY state "
        "ORDER BY state",
        batch_id,
    )
    return {row["state"]: row["requests"] for row in rows}


def _deliveries(reader: Transaction, batch_id: int) -> dict[str, int]:
    rows = reader.rows(
        """
        SELECT state, sum(rows)::BIGINT AS results FROM (
            SELECT result_id, state, rows FROM parts
            UNION ALL SELECT result_id, state, 1 FROM deliveries)
        WHERE result_id IN (SELECT result_id FROM results WHERE batch_id = ?) GROUP BY state
        """,
        batch_id,
    )
    return dict.fromkeys(_DELIVERY_STATES, 0) | {row["state"]: row["results"] for row in rows}


def _money(reader: Transaction, batch_id: int, terms: Terms) -> dict[str, Any]:
    with known_prices(reader, terms.prices):
        money = reader.row(
            "SELECT model, expected_cost_usd, cost_usd, synchronous_usd, "
            "synchronous_usd - cost_usd AS saved_usd, input_tokens / nullif(tokens, 0) "
            f"AS actual_to_estimated FROM {PRICED_BATCHES} WHERE batch_id = ?",
            batch_id,
        ) or {}  # fmt: skip
    price = terms.prices.price_of(money["model"])
    return money | {
        "input_usd_per_million": float(price.input) if price else None,
        "cached_input_usd_per_million": _cached(price.cached_input) if price else None,
        "output_usd_per_million": float(price.output) if price else None,
        "prices_as_of": terms.prices.as_of,
    }


def _cached(amount: Any) -> float | None:
    return None if amount is None else float(amount)
