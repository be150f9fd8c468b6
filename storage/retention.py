"""Forgetting: what is old goes, but never anything that is not finished and delivered."""

from datetime import timedelta
from pathlib import Path

from storage.batch_files import batch_folder, remove_batch_files
from storage.directory import DataDirectory
from storage.ledger import Ledger, Transaction, now
from storage.result_files import result_path
from storage.segment_records import remove_segment

_UNDELIVERED = (
    "(SELECT result_id FROM parts WHERE state = 'pending' "
    "UNION ALL SELECT result_id FROM deliveries WHERE state IN ('pending', 'exhausted'))"
)
"""Result files that somebody still waits for, or may replay."""


_FORGETTABLE = """
(job_id IN (SELECT job_id FROM jobs WHERE completed_at < $1)
    AND NOT EXISTS (
        SELECT 1 FROM deliveries
        WHERE deliveries.segment = requests.segment AND deliveries.row_index = requests.row_index
            AND deliveries.state IN ('pending', 'exhausted')))
OR (job_id IN (SELECT job_id FROM jobs WHERE endless)
    AND finished_at < $1 AND result_id IS NOT NULL AND state NOT IN ('pending', 'batched')
    AND NOT EXISTS (
        SELECT 1 FROM parts
        WHERE parts.job_id = requests.job_id AND parts.result_id = requests.result_id
            AND (parts.state = 'pending' OR delivered_at >= $1))
    AND NOT EXISTS (
        SELECT 1 FROM deliveries
        WHERE deliveries.segment = requests.segment AND deliveries.row_index = requests.row_index
            AND (deliveries.state IN ('pending', 'exhausted') OR deliveries.finished_at >= $1)))
"""
"""Requests of jobs completed before a moment, and of endless jobs those delivered before it."""


def forget_files(folder: Path, *, keep_days: float) -> int:
    """Delete files that came into the folder longer ago; 0 days keeps all."""
    if keep_days <= 0:
        return 0
    cutoff = (now() - timedelta(days=keep_days)).timestamp()
    # The change time: a rename into the folder sets it, the modification time stays the user's.
    old = [path for path in folder.iterdir() if path.is_file() and path.stat().st_ctime < cutoff]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def forget_outbox(directory: DataDirectory, *, keep_days: float) -> int:
    """Delete delivered files that nothing has touched for longer; 0 days keeps all."""
    if keep_days <= 0:
        return 0
    cutoff = (now() - timedelta(days=keep_days)).timestamp()
    old = [
        path
        for path in directory.outbox.rglob("*")
        if path.is_file() and path.stat().st_mtime < cutoff
    ]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def forget_batch_files(ledger: Ledger, *, keep_days: float) -> int:
    """Delete the files of batches that ended longer ago and left nothing undelivered."""
    if keep_days <= 0:
        return 0
    with ledger.transaction() as reader:
        rows = reader.rows(
            "SELECT batch_id FROM batches WHERE finished_at < ? "
            f"AND batch_id NOT IN {_UNDELIVERED}",
            now() - timedelta(days=keep_days),
        )
    old = [row["batch_id"] for row in rows]
    old = [batch_id for batch_id in old if batch_folder(ledger.directory, batch_id).exists()]
    for batch_id in old:
        remove_batch_files(ledger.directory, batch_id)
    return len(old)


def forget_requests(ledger: Ledger, *, keep_days: float) -> int:
    """Delete requests and results of jobs completed longer ago; return how many requests.

    Endless jobs are never completed: of them each request goes whose result was delivered longer
    ago. A segment or result file goes when no request of it is left in the ledger. Rows go first:
    a crash in between leaves files that the next run deletes.
    """
    if keep_days <= 0:
        return 0
    cutoff = now() - timedelta(days=keep_days)
    with ledger.transaction() as transaction:
        forgotten = transaction.execute(f"DELETE FROM requests WHERE {_FORGETTABLE}", cutoff)
        _forget_deliveries(transaction)
        segments = transaction.rows(
            "SELECT segment FROM segments WHERE created_at < ? "
            "AND segment NOT IN (SELECT segment FROM requests)",
            cutoff,
        )
        results = transaction.rows(
            "SELECT result_id FROM results WHERE recorded_at < ? AND result_id NOT IN "
            f"(SELECT result_id FROM requests WHERE result_id IS NOT NULL) AND result_id NOT IN "
            f"{_UNDELIVERED}",
            cutoff,
        )
    for row in segments:
        remove_segment(ledger.directory.segments, row["segment"])
    for row in results:
        result_path(ledger.directory, row["result_id"]).unlink(missing_ok=True)
    return forgotten


def _forget_deliveries(transaction: Transaction) -> None:
    """Delete the deliveries of requests that are forgotten, with their attempts."""
    forgotten = transaction.execute(
        "DELETE FROM deliveries WHERE NOT EXISTS (SELECT 1 FROM requests "
        "WHERE requests.segment = deliveries.segment "
        "AND requests.row_index = deliveries.row_index)"
    )
    if forgotten:
        transaction.execute(
            "DELETE FROM attempts WHERE delivery_id NOT IN (SELECT delivery_id FROM deliveries)"
        )


def forget_transitions(ledger: Ledger, *, keep_days: float) -> int:
    """Delete the audit trail's older lines; 0 days keeps all."""
    if keep_days <= 0:
        return 0
    before = now() - timedelta(days=keep_days)
    with ledger.transaction() as transaction:
        return transaction.execute("DELETE FROM transitions WHERE happened_at < ?", before)
