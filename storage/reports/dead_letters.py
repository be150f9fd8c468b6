"""Single dead letters: those of one cause, and which requests deliveries belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batching.wire import RequestRef, encode_wire_id
from storage.ledger import Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What dead letters are grouped by."""

    target: str
    outcome: str | None
    problem: str | None


def letters_of(reader: Transaction, cause: Cause, *, most: int) -> list[dict[str, Any]]:
    """Return the dead letters of one cause, the newest first."""
    return reader.rows(
        """
        SELECT letters.delivery_id, custom_id, jobs.name AS job, requests.batch_id,
            letters.attempts, letters.created_at, letters.finished_at
        FROM (SELECT * FROM deliveries WHERE state = 'exhausted' AND destination_id IN
                (SELECT destination_id FROM destinations WHERE target = ?)
            AND outcome IS NOT DISTINCT FROM ?::VARCHAR
            AND problem IS NOT DISTINCT FROM ?::VARCHAR
            ORDER BY finished_at DESC, delivery_id DESC LIMIT ?) AS letters
        JOIN jobs USING (job_id)
        LEFT JOIN requests ON requests.segment = letters.segment
            AND requests.row_index = letters.row_index
        ORDER BY letters.finished_at DESC, letters.delivery_id DESC
        """,
        cause.target, cause.outcome, cause.problem, most,
    )  # fmt: skip


def request_ids_of(reader: Transaction, delivery_ids: Sequence[int]) -> dict[int, str]:
    """Return the id of the request of each delivery."""
    rows = reader.rows(
        "SELECT delivery_id, segment, row_index FROM deliveries "
        "WHERE delivery_id IN (SELECT unnest(?::BIGINT[]))",
        list(delivery_ids),
    )
    if not rows:
        return {}
    installation = str(reader.value("SELECT value FROM meta WHERE key = 'installation'"))
    return {
        row["delivery_id"]: encode_wire_id(
            installation, RequestRef(segment=row["segment"], row=row["row_index"])
        )
        for row in rows
    }
