"""Completing jobs: when every request is answered and delivered, sort the results and sum up."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from pyarrow import ArrowException

from batching.errors import BadInput
from storage.durable import disk_errors, make_folder, write_durably, written_durably
from storage.ledger import Ledger, Transaction, now
from storage.result_streams import Look, answered_after, result_lines

_IS_READY = """
completed_at IS NULL AND NOT endless
    AND job_id NOT IN (
        SELECT DISTINCT job_id FROM requests
        WHERE state IN ('pending', 'batched') OR result_id IS NULL)
    AND job_id NOT IN (SELECT job_id FROM parts WHERE state = 'pending')
    AND job_id NOT IN (SELECT job_id FROM deliveries WHERE state = 'pending')
"""


def jobs_to_complete(reader: Transaction) -> list[dict[str, Any]]:
    """Return the jobs whose results are all delivered and that are not closed yet."""
    return reader.rows(f"SELECT job_id, name, slug FROM jobs WHERE {_IS_READY} ORDER BY job_id")


def complete_job(ledger: Ledger, *, job_id: int, slug: str) -> bool:
    """Write `results.sorted.jsonl` and `summary.json` of a job and record its completion.

    A job of which no result goes to files gets no folder.
    Returns whether it is complete: a further source may have come in meanwhile. BadInput says
    which file stands in the way; other jobs can still be completed.
    """
    moment = now()
    summary = _summary(ledger, job_id, moment)
    if not _is_only_pushed(ledger, job_id):
        _write_files(ledger, job_id, ledger.directory.outbox / slug, summary)
    with ledger.transaction() as transaction:
        completed = transaction.execute(
            f"UPDATE jobs SET completed_at = ? WHERE job_id = ? AND {_IS_READY}", moment, job_id
        )
        if completed:
            transaction.record_move("job", summary["job"], "completed", source="open")
    return bool(completed)


def _is_only_pushed(ledger: Ledger, job_id: int) -> bool:
    with ledger.transaction() as reader:
        return bool(
            reader.value(
                "SELECT count(*) = count(*) FILTER (WHERE destination_id <> 0) "
                "AND count(*) > 0 FROM requests WHERE job_id = ?",
                job_id,
            )
        )


def _write_files(ledger: Ledger, job_id: int, folder: Path, summary: dict[str, Any]) -> None:
    try:
        with disk_errors(folder):
            make_folder(folder)
        with written_durably(folder / "results.sorted.jsonl") as file:
            file.writelines(result_lines(ledger.directory, _places(ledger, job_id)))
        write_durably(folder / "summary.json", json.dumps(summary, indent=2).encode() + b"\n")
    except (OSError, ArrowException) as error:
        raise BadInput(
            f"the results of job {summary['job']!r} are delivered in results.jsonl but cannot be "
            f"sorted and summed up: {error}"
        ) from error


def _places(ledger: Ledger, job_id: int) -> Look:
    """Look for the job's results with a transaction for each look, so that nobody waits long."""

    def look(segment: int, row_index: int) -> pl.DataFrame:
        with ledger.transaction() as reader:
            return answered_after(reader, job_id, segment, row_index, files_only=True)

    return look


def _summary(ledger: Ledger, job_id: int, moment: datetime) -> dict[str, Any]:
    with ledger.transaction() as reader:
        job = reader.row("SELECT name, created_at FROM jobs WHERE job_id = ?", job_id) or {}
        sources = reader.rows(
            "SELECT name, accepted, rejected, repeated FROM sources WHERE job_id = ? "
            "ORDER BY taken_in_at",
            job_id,
        )
        states = reader.rows(
            "SELECT state, count(*) AS requests FROM requests WHERE job_id = ? GROUP BY state "
            "ORDER BY state",
            job_id,
        )
        models = reader.rows(_MODELS, job_id)
        errors = reader.rows(_ERRORS, job_id)
    return {
        "job": job["name"],
        "created_at": job["created_at"].isoformat(),
        "completed_at": moment.isoformat(),
        "requests": {row["state"]: row["requests"] for row in states},
        "sources": sources,
        "usage": [{name: _plain(value) for name, value in row.items()} for row in models],
        "errors": errors,
    }


_MODELS = """
SELECT model, endpoint, count(*) AS requests, sum(requests.input_tokens)::BIGINT AS input_tokens,
    sum(requests.cached_tokens)::BIGINT AS cached_tokens,
    sum(requests.output_tokens)::BIGINT AS output_tokens,
    sum(requests.reasoning_tokens)::BIGINT AS reasoning_tokens
FROM requests JOIN lanes USING (lane_id)
WHERE job_id = ? GROUP BY model, endpoint ORDER BY model, endpoint
"""

_ERRORS = """
SELECT error_code AS code, status_code, count(*) AS requests FROM requests
WHERE job_id = ? AND state IN ('failed', 'cancelled')
GROUP BY error_code, status_code ORDER BY requests DESC LIMIT 20
"""


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
