"""Deliveries: one for each result that is pushed, from the moment it is known to its end.

The owner of the deliver flow is the only one who sends, so what is due and under way is known
to it alone: nothing marks a delivery as being sent, and after a crash it is simply due again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from batching.deliveries import Message, idempotency_key
from batching.retry import LONGEST_ASKED_SECONDS
from batching.wire import RequestRef, encode_wire_id
from storage.directory import DataDirectory
from storage.ledger import Transaction, now
from storage.result_files import delivered_line, result_path
from storage.result_reading import read_range
from storage.waits import LONGEST_DELIVERY_PAUSE_SECONDS, is_due_sql

_KEY = ["segment", "row_index"]
_LINE_COLUMNS = ("segment", "row_index", "custom_id", "id_start", "id_end", "line")
_ATTEMPT_IS_DUE = is_due_sql(
    "next_attempt_at", "$1", longest_seconds=LONGEST_DELIVERY_PAUSE_SECONDS
)
_DUE = (
    f"deliveries.state = 'pending' AND {_ATTEMPT_IS_DUE} "
    "AND disabled_at IS NULL "
    "AND target NOT IN (SELECT target FROM targets WHERE paused_at IS NOT NULL)"
)
_LEFT_ALONE = "NOT " + is_due_sql("targets.open_until", "$1", longest_seconds=LONGEST_ASKED_SECONDS)

ATTEMPT_COLUMNS: Final[Mapping[str, Any]] = {
    "delivery_id": pl.Int64,
    "attempted_at": pl.Datetime("us"),
    "outcome": pl.String,
    "status_code": pl.Int16,
    "duration_milliseconds": pl.Int32,
    "excerpt": pl.String,
    "state": pl.String,
    "next_attempt_at": pl.Datetime("us"),
}
"""One row an attempt, with the state that follows from it (times in UTC without a zone)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DueTarget:
    """A target for which deliveries are due now."""

    target: str
    kind: str
    due: int


def add_deliveries(transaction: Transaction, result_id: int, finals: pl.DataFrame) -> None:
    """Record the duty to push these results, one delivery each."""
    with transaction.table("pushed", finals.select(*_KEY, "job_id", "destination_id")):
        transaction.execute(
            """
            INSERT INTO deliveries BY NAME
            SELECT (SELECT coalesce(max(delivery_id), 0) FROM deliveries)
                    + row_number() OVER (ORDER BY segment, row_index) AS delivery_id,
                job_id, segment, row_index, $1 AS result_id, destination_id,
                'pending' AS state, $2::TIMESTAMP AS created_at, 0 AS attempts
            FROM pushed
            """,
            result_id, now(),
        )  # fmt: skip


def due_targets(reader: Transaction, *, at: datetime) -> list[DueTarget]:
    """Return the targets that have deliveries due and are not left alone now."""
    rows = reader.rows(
        f"""
        SELECT target, any_value(targets.kind) AS kind, count(*) AS due
        FROM deliveries JOIN destinations USING (destination_id) JOIN targets USING (target)
        WHERE {_DUE} AND NOT ({_LEFT_ALONE})
        GROUP BY target ORDER BY target
        """,
        at,
    )
    return [DueTarget(**row) for row in rows]


def waiting_by_target(reader: Transaction) -> dict[str, int]:
    """Return how many deliveries wait for each target, due or not; nothing for the others."""
    rows = reader.rows(
        "SELECT target, count(*) AS waiting FROM deliveries JOIN destinations "
        "USING (destination_id) WHERE deliveries.state = 'pending' GROUP BY target"
    )
    return {row["target"]: row["waiting"] for row in rows}


def due_deliveries(
    reader: Transaction, target: str, *, at: datetime, most: int, under_way: pl.Series
) -> pl.DataFrame:
    """Return deliveries of the target that are due, new ones before retries.

    `under_way` holds the ids of those that were taken and are not recorded yet.
    """
    with reader.table("under_way", pl.DataFrame({"delivery_id": under_way.cast(pl.Int64)})):
        return reader.frame(
            f"""
            SELECT delivery_id, segment, row_index, result_id, destination_id, config, attempts,
                deliveries.created_at
            FROM deliveries JOIN destinations USING (destination_id)
            WHERE target = $2 AND {_DUE}
                AND NOT EXISTS (SELECT 1 FROM under_way
                    WHERE under_way.delivery_id = deliveries.delivery_id)
            ORDER BY attempts > 0, delivery_id LIMIT $3
            """,
            at, target, most,
        )  # fmt: skip


def messages_of(
    directory: DataDirectory, installation: str, due: pl.DataFrame
) -> Iterator[Message]:
    """Yield the messages of these deliveries of one result file, as far as they are in there.

    OSError or ArrowException: the file cannot be read.
    """
    number = int(due["result_id"][0])
    lines = read_range(result_path(directory, number), due, _LINE_COLUMNS)
    found = due.join(lines, on=_KEY, how="inner", maintain_order="left")
    for row in found.select("delivery_id", *_LINE_COLUMNS).iter_rows():
        delivery_id, segment, row_index, custom_id, id_start, id_end, line = row
        ref = RequestRef(segment=segment, row=row_index)
        yield Message(
            delivery_id=delivery_id,
            key=idempotency_key(installation, ref, number),
            request_id=encode_wire_id(installation, ref),
            custom_id=custom_id,
            payload=delivered_line(line, id_start, id_end, custom_id),
        )


def record_attempts(transaction: Transaction, attempts: pl.DataFrame) -> int:
    """Record these attempts (columns: `ATTEMPT_COLUMNS`) and move their deliveries on.

    Numbers of attempts go on counting when results are brought again. Returns how many deliveries
    moved: one that an operator has cancelled meanwhile stays as it is.
    """
    if not attempts.height:
        return 0
    with transaction.table("tried", attempts):
        transaction.execute(
            """
            INSERT INTO attempts
            SELECT tried.delivery_id, coalesce(earlier.number, 0) + 1, attempted_at,
                tried.outcome, status_code, duration_milliseconds, excerpt
            FROM tried JOIN deliveries USING (delivery_id)
                LEFT JOIN (SELECT delivery_id, max(number) AS number FROM attempts
                    WHERE delivery_id IN (SELECT delivery_id FROM tried)
                    GROUP BY delivery_id) AS earlier USING (delivery_id)
            """
        )
        return transaction.execute(
            """
            UPDATE deliveries SET attempts = attempts + 1, state = tried.state,
                outcome = tried.outcome, problem = CASE WHEN tried.outcome = 'success' THEN NULL
                    ELSE coalesce(tried.excerpt, tried.outcome) END,
                next_attempt_at = tried.next_attempt_at,
                finished_at = CASE WHEN tried.state = 'pending' THEN NULL
                    ELSE tried.attempted_at END
            FROM tried WHERE deliveries.delivery_id = tried.delivery_id
                AND deliveries.state = 'pending'
            """
        )
