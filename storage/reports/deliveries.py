"""The deliveries page: how each target fares, the dead letters by cause, every attempt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from batching.destinations import shown_text
from storage.ledger import Transaction
from storage.reports.paging import PageChoice, order_by

_DAY: Final = timedelta(days=1)
_TARGETS: Final = """
SELECT targets.target, targets.kind, coalesce(destinations, 0) AS destinations,
    coalesce(pending, 0) AS pending, coalesce(due, 0) AS due,
    coalesce(delivered, 0) AS delivered, coalesce(exhausted, 0) AS exhausted,
    coalesce(cancelled, 0) AS cancelled, coalesce(attempts_24h, 0) AS attempts_24h,
    coalesce(succeeded_24h, 0) AS succeeded_24h,
    succeeded_24h / nullif(attempts_24h, 0) AS success_share, p50_seconds, p95_seconds,
    CASE WHEN paused_at IS NOT NULL THEN 'paused' WHEN open_until IS NULL OR openings = 0
        THEN 'closed' WHEN open_until > $1::TIMESTAMP THEN 'open' ELSE 'half_open' END AS breaker,
    open_until, paused_at, failing_since, last_success_at, last_outcome, problem, disabled_at,
    disabled_because
FROM targets
LEFT JOIN (
    SELECT target, count(*) AS destinations, min(disabled_at) AS disabled_at,
        any_value(disabled_because) AS disabled_because, sum(pending)::BIGINT AS pending,
        sum(due)::BIGINT AS due, sum(delivered)::BIGINT AS delivered,
        sum(exhausted)::BIGINT AS exhausted, sum(cancelled)::BIGINT AS cancelled
    FROM destinations LEFT JOIN (
        SELECT destination_id, count(*) FILTER (WHERE state = 'pending') AS pending,
            count(*) FILTER (WHERE state = 'pending' AND (next_attempt_at IS NULL
                OR next_attempt_at <= $1::TIMESTAMP)) AS due,
            count(*) FILTER (WHERE state = 'delivered') AS delivered,
            count(*) FILTER (WHERE state = 'exhausted') AS exhausted,
            count(*) FILTER (WHERE state = 'cancelled') AS cancelled
        FROM deliveries GROUP BY destination_id) USING (destination_id)
    GROUP BY target) USING (target)
LEFT JOIN (
    SELECT target, count(*) AS attempts_24h,
        count(*) FILTER (WHERE attempts.outcome = 'success') AS succeeded_24h,
        quantile_cont(duration_milliseconds, 0.5) / 1000 AS p50_seconds,
        quantile_cont(duration_milliseconds, 0.95) / 1000 AS p95_seconds
    FROM attempts JOIN deliveries USING (delivery_id) JOIN destinations USING (destination_id)
    WHERE attempted_at > $2::TIMESTAMP GROUP BY target) USING (target)
ORDER BY exhausted DESC, pending DESC, target
"""


def targets_report(reader: Transaction, *, at: datetime) -> list[dict[str, Any]]:
    """Return each pushed target with its last 24 h, what waits for it and how it fares.

    The worst comes first. `breaker` is closed, open, half_open or paused.
    """
    return reader.rows(_TARGETS, at, at - _DAY)


def files_report(reader: Transaction, *, at: datetime) -> dict[str, Any]:
    """Return how results fare that go to files, which have no attempts of their own."""
    found = reader.row(
        """
        SELECT coalesce(sum(rows) FILTER (WHERE state = 'pending'), 0)::BIGINT AS pending,
            coalesce(sum(rows) FILTER (WHERE state = 'delivered'), 0)::BIGINT AS delivered,
            coalesce(sum(rows) FILTER (WHERE delivered_at > ?::TIMESTAMP), 0)::BIGINT
                AS delivered_24h,
            any_value(problem) FILTER (WHERE state = 'pending') AS problem
        FROM parts
        """,
        at - _DAY,
    )
    return found or {}


def dead_letters(reader: Transaction, *, most: int = 200) -> list[dict[str, Any]]:
    """Return what could not be delivered, grouped by target and cause, the largest group first."""
    return reader.rows(
        """
        SELECT target, any_value(kind) AS kind, outcome, problem, count(*) AS deliveries,
            count(DISTINCT job_id) AS jobs, min(finished_at) AS first_at,
            max(finished_at) AS last_at
        FROM deliveries JOIN destinations USING (destination_id) WHERE state = 'exhausted'
        GROUP BY target, outcome, problem ORDER BY deliveries DESC, target, outcome LIMIT ?
        """,
        most,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryFilter:
    """Which deliveries or attempts are wanted: those for which everything holds that is given."""

    state: str | None = None
    """Of the delivery."""
    outcome: str | None = None
    problem: str | None = None
    """The whole text, as `dead_letters` groups by it."""
    failed_only: bool = False
    """Only attempts that did not succeed."""
    target: str | None = None
    job: str | None = None
    batch_id: int | None = None
    custom_id_part: str | None = None
    since: datetime | None = None
    until: datetime | None = None


DELIVERY_SORTS: Final[Mapping[str, str]] = {
    "created": "deliveries.created_at",
    "finished": "deliveries.finished_at",
    "attempts": "deliveries.attempts",
    "state": "deliveries.state",
    "outcome": "deliveries.outcome",
    "next_attempt": "deliveries.next_attempt_at",
}
ATTEMPT_SORTS: Final[Mapping[str, str]] = {
    "attempted": "attempts.attempted_at",
    "duration": "attempts.duration_milliseconds",
    "outcome": "attempts.outcome",
    "status_code": "attempts.status_code",
    "number": "attempts.number",
}


def deliveries_view(
    reader: Transaction, wanted: DeliveryFilter, choice: PageChoice
) -> dict[str, Any]:
    """Return `rows` of one page of deliveries and their `count`; times are the deliveries'."""
    tests, parameters = _of_deliveries(wanted)
    tests += _outcome_tests(wanted, "deliveries", parameters)
    tests += _time_tests(wanted, "deliveries.created_at", parameters)
    where = " AND ".join(tests) or "true"
    order = order_by(DELIVERY_SORTS, choice, then="deliveries.delivery_id")
    rows = reader.rows(
        f"""
        SELECT delivery_id, jobs.name AS job, custom_id, requests.batch_id, target, kind,
            config AS delivery_config, deliveries.state, deliveries.attempts, next_attempt_at,
            outcome, problem, deliveries.created_at, deliveries.finished_at
        FROM (SELECT * FROM deliveries WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?)
            AS deliveries {_BESIDE} ORDER BY {order}
        """,
        *parameters, choice.limit, choice.offset,
    )  # fmt: skip
    for row in rows:
        row["delivery_config"] = shown_text(row["delivery_config"])
    count = reader.value(f"SELECT count(*) FROM deliveries WHERE {where}", *parameters)
    return {"rows": rows, "count": count}


def attempts_view(
    reader: Transaction, wanted: DeliveryFilter, choice: PageChoice
) -> dict[str, Any]:
    """Return `rows` of one page of attempts and their `count`; times are the attempts'."""
    inner, parameters = _of_deliveries(wanted)
    tests = []
    if inner:
        which = f"SELECT delivery_id FROM deliveries WHERE {' AND '.join(inner)}"
        tests.append(f"attempts.delivery_id IN ({which})")
    tests += _outcome_tests(wanted, "attempts", parameters)
    tests += _time_tests(wanted, "attempts.attempted_at", parameters)
    where = " AND ".join(tests) or "true"
    order = order_by(ATTEMPT_SORTS, choice, then="attempts.delivery_id")
    rows = reader.rows(
        f"""
        SELECT attempts.delivery_id, number, attempted_at, attempts.outcome, attempts.status_code,
            duration_milliseconds / 1000 AS duration_seconds, excerpt, jobs.name AS job,
            custom_id, requests.batch_id, target, kind, deliveries.state AS delivery_state
        FROM (SELECT * FROM attempts WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?)
            AS attempts JOIN deliveries USING (delivery_id) {_BESIDE} ORDER BY {order}
        """,
        *parameters, choice.limit, choice.offset,
    )  # fmt: skip
    count = reader.value(f"SELECT count(*) FROM attempts WHERE {where}", *parameters)
    return {"rows": rows, "count": count}


_BESIDE: Final = """
JOIN jobs USING (job_id)
JOIN destinations ON destinations.destination_id = deliveries.destination_id
LEFT JOIN requests ON requests.segment = deliveries.segment
    AND requests.row_index = deliveries.row_index
"""
_DELIVERY_TESTS: Final[Mapping[str, str]] = {
    "state": "deliveries.state = ?",
    "target": "deliveries.destination_id IN "
    "(SELECT destination_id FROM destinations WHERE target = ?)",
    "job": "deliveries.job_id IN (SELECT job_id FROM jobs WHERE name = ?)",
    "batch_id": "deliveries.result_id IN (SELECT result_id FROM results WHERE batch_id = ?)",
    "custom_id_part": "(deliveries.segment, deliveries.row_index) IN (SELECT (segment, row_index) "
    "FROM requests WHERE contains(lower(custom_id), lower(?)))",
}


def _of_deliveries(wanted: DeliveryFilter) -> tuple[list[str], list[object]]:
    given = {name: getattr(wanted, name) for name in _DELIVERY_TESTS}
    known = {name: value for name, value in given.items() if value is not None}
    return [_DELIVERY_TESTS[name] for name in known], list(known.values())


def _outcome_tests(wanted: DeliveryFilter, table: str, parameters: list[object]) -> list[str]:
    tests = []
    if wanted.outcome is not None:
        tests.append(f"{table}.outcome = ?")
        parameters.append(wanted.outcome)
    if wanted.problem is not None:
        tests.append(f"{table}.{'problem' if table == 'deliveries' else 'excerpt'} = ?")
        parameters.append(wanted.problem)
    return [*tests, f"{table}.outcome <> 'success'"] if wanted.failed_only else tests


def _time_tests(wanted: DeliveryFilter, column: str, parameters: list[object]) -> list[str]:
    given = [(">=", wanted.since), ("<", wanted.until)]
    known = [(sign, moment) for sign, moment in given if moment is not None]
    parameters += [moment for _, moment in known]
    return [f"{column} {sign} ?::TIMESTAMP" for sign, _ in known]
