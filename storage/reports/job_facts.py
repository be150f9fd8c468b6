"""One job as its page shows it, and files that became none."""

from datetime import datetime
from typing import Any

from storage.ledger import Transaction
from storage.reports.jobs import job_report
from storage.reports.terms import Terms


def job_with_facts(reader: Transaction, *, name: str, terms: Terms) -> dict[str, Any] | None:
    """Return the report of a job, how many results are pushed, and whether all was sent already.

    `pushed` counts what can be brought again; `flush_covers_all` says that nothing has come
    since somebody had the job sent without filling up.
    """
    job = job_report(reader, name, terms=terms)
    if job is None:
        return None
    found = reader.row(_PUSHED, job["job_id"]) or {}
    latest = reader.row(_LATEST, job["job_id"]) or {}
    flushed, newest = job["flush_requested_at"], latest.get("newest")
    return job | found | {
        "next_at": latest.get("oldest"),
        "flush_covers_all": flushed is not None and newest is not None and newest <= flushed,
    }  # fmt: skip


def refused_files(reader: Transaction, *, since: datetime, most: int) -> list[dict[str, Any]]:
    """Return the newest files that were refused as a whole since then, with their reasons."""
    return reader.rows(
        """
        SELECT source_id, name, reason, taken_in_at FROM sources
        WHERE outcome = 'rejected' AND taken_in_at >= ?::TIMESTAMP
        ORDER BY taken_in_at DESC LIMIT ?
        """,
        since, most,
    )  # fmt: skip


_PUSHED = """
SELECT count(*) FILTER (WHERE state IN ('delivered', 'exhausted')) AS pushed
FROM deliveries WHERE job_id = ?
"""
_LATEST = """
SELECT max(accepted_at) AS newest, min(accepted_at) AS oldest
FROM requests WHERE job_id = ? AND state = 'pending'
"""
