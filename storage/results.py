"""Merging results into the ledger: requests get their verdicts, jobs their deliveries."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl

from batching.failure_policy import RetryLimits
from batching.lifecycle import BatchState, RequestState
from batching.refusals import ACCOUNT_CODES
from batching.result_lines import OwnCode
from storage.answer_files import AnswerIndex, index_answers, write_odd_lines
from storage.batch_files import odd_lines_path
from storage.batches import Batch, move, note_in
from storage.deliveries import add_deliveries
from storage.destinations import FILE
from storage.ledger import Ledger, Transaction, now
from storage.outdated_reasons import with_reasons
from storage.provider_files import dispose_of_files
from storage.reconciliation import Reconciled, reconcile
from storage.result_files import (
    result_number,
    result_path,
    write_own_results,
    write_provider_results,
)

OWN_RESULTS_A_FILE = 100_000
LONGEST_DETAIL = 1_000
"""Characters of the provider's reason that each of its requests is told."""
ROWS_AN_UPDATE = 10_000
"""The ledger updates so many rows at a time, inside one transaction, to need less memory."""

_USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_VERDICT = (
    "segment", "row_index", "state", "attempts_now", "returns_now", "own_code",
    "length", "status_code", "error_code", *_USAGE,
)  # fmt: skip
_FINAL = (
    "segment", "row_index", "job_id", "destination_id", "custom_id", "state", "file", "offset",
    "length",
)  # fmt: skip

CostOf = Callable[[str, pl.DataFrame], Decimal | None]
"""From a model and the usage of its results to what they cost; None if no price is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What a batch brought, by number of requests."""

    succeeded: int
    failed: int
    cancelled: int
    returned: int
    odd_lines: int
    account_code: str | None = None
    """Why the account could not pay for some of the requests."""


def collect_batch(
    ledger: Ledger,
    batch: Batch,
    files: dict[int, Path],
    *,
    installation: str,
    complete: bool,
    limits: RetryLimits,
    cost_of: CostOf,
) -> Collected:
    """Read the downloaded files of an ended batch and record every request's verdict.

    `files` holds those that exist; `complete` says that no other file could hold a line.
    Done again after a crash it writes the same file and records it once.
    """
    members = _members(ledger, batch.batch_id)
    has_members = members.height > 0
    found = reconcile(
        members,
        _indexed(batch, files, installation),
        complete=complete,
        cancelled_outside=batch.provider_status == "cancelled" and not batch.cancel_requested,
        limits=limits,
    )
    if found.odd and has_members:
        write_odd_lines(odd_lines_path(ledger.directory, batch.batch_id), files, list(found.odd))
    finals = found.requests.filter(
        (pl.col("state") != RequestState.PENDING.value) & pl.col("own_code").is_null()
    ).select(_FINAL)
    collected, verdicts = _counted(found), found.requests.select(_VERDICT)
    del members, found  # what follows needs memory of its own
    size = 0
    if finals.height:
        target = result_path(ledger.directory, batch.batch_id)
        size = write_provider_results(target, finals, files)
    _merge(ledger, batch, verdicts, collected, finals=finals, file_bytes=size, cost_of=cost_of)
    return collected


def _indexed(batch: Batch, files: dict[int, Path], installation: str) -> AnswerIndex:
    index = AnswerIndex()
    for file, path in files.items():
        index_answers(
            index, path, file=file, installation=installation,
            batch_status=batch.provider_status or "",
        )  # fmt: skip
    return index


def _members(ledger: Ledger, batch_id: int) -> pl.DataFrame:
    with ledger.transaction() as reader:
        return reader.frame(
            "SELECT segment, row_index, job_id, destination_id, custom_id, attempts, returns, "
            "cancel_requested "
            "FROM requests WHERE batch_id = ? AND state = 'batched' ORDER BY segment, row_index",
            batch_id,
        )


def _counted(found: Reconciled) -> Collected:
    return Collected(
        succeeded=found.count(RequestState.SUCCEEDED),
        failed=found.count(RequestState.FAILED),
        cancelled=found.count(RequestState.CANCELLED),
        returned=found.count(RequestState.PENDING),
        odd_lines=len(found.odd),
        account_code=_account_code(found.requests),
    )


def _merge(
    ledger: Ledger,
    batch: Batch,
    verdicts: pl.DataFrame,
    collected: Collected,
    *,
    finals: pl.DataFrame,
    file_bytes: int,
    cost_of: CostOf,
) -> None:
    usage = verdicts.select(_USAGE).drop_nulls("input_tokens")
    with ledger.transaction() as transaction:
        moved = move(
            transaction, batch.batch_id, BatchState.COLLECTED, finished_at=now(),
            succeeded=collected.succeeded, failed=collected.failed,
            cancelled=collected.cancelled, returned=collected.returned,
            odd_lines=collected.odd_lines,
            cost_usd=_cost(transaction, batch, verdicts, cost_of(batch.model, usage)),
        )  # fmt: skip
        if moved:
            totals: dict[str, object] = {name: int(usage[name].sum() or 0) for name in _USAGE}
            note_in(transaction, batch.batch_id, **totals)
            for rows in verdicts.iter_slices(ROWS_AN_UPDATE):
                _update_requests(transaction, batch.batch_id, rows)
            dispose_of_files(transaction, batch.batch_id)
            if finals.height:
                _add_result(transaction, batch.batch_id, batch.batch_id, finals, file_bytes)


def _cost(
    transaction: Transaction, batch: Batch, verdicts: pl.DataFrame, known: Decimal | None
) -> Decimal | None:
    """Add what was expected for requests that may be paid and do not say how much.

    Without that the day's budget would be spent on them again.
    """
    no_line = pl.col("length").is_null()
    if batch.provider_status in {"expired", "cancelled"}:
        no_line &= pl.col("own_code") == OwnCode.RESULTS_UNAVAILABLE.value
    silent = pl.col("input_tokens").is_null() & (
        no_line | pl.col("status_code").is_between(200, 299)
    )
    unpriced = verdicts.filter(silent).height
    if known is None or not unpriced:
        return known
    expected = transaction.value(
        "SELECT expected_cost_usd FROM batches WHERE batch_id = ?", batch.batch_id
    )
    return known + (expected or Decimal(0)) * unpriced / batch.requests


def _account_code(requests: pl.DataFrame) -> str | None:
    codes = requests.filter(pl.col("error_code").is_in(sorted(ACCOUNT_CODES)))["error_code"]
    return str(codes[0]) if codes.len() else None


def _update_requests(transaction: Transaction, batch_id: int, verdicts: pl.DataFrame) -> None:
    with transaction.table("verdicts", verdicts):
        transaction.execute(
            """
            UPDATE requests SET
                state = verdicts.state,
                batch_id = CASE WHEN verdicts.state = 'pending' THEN NULL ELSE $1 END,
                attempts = verdicts.attempts_now,
                returns = verdicts.returns_now,
                finished_at = CASE WHEN verdicts.state = 'pending' THEN NULL
                    ELSE $2::TIMESTAMP END,
                result_id = CASE WHEN verdicts.state = 'pending' OR own_code IS NOT NULL
                    THEN NULL ELSE $1 END,
                result_bytes = verdicts.length,
                status_code = verdicts.status_code,
                error_code = coalesce(verdicts.own_code, verdicts.error_code),
                input_tokens = verdicts.input_tokens,
                cached_tokens = verdicts.cached_tokens,
                output_tokens = verdicts.output_tokens,
                reasoning_tokens = verdicts.reasoning_tokens
            FROM verdicts
            WHERE requests.segment = verdicts.segment
                AND requests.row_index = verdicts.row_index
                AND requests.batch_id = $1 AND requests.state = 'batched'
            """,
            batch_id,
            now(),
        )


def _add_result(
    transaction: Transaction, result_id: int, batch_id: int | None, finals: pl.DataFrame, size: int
) -> None:
    """Record a result file and the duty to deliver what is in it."""
    transaction.execute(
        """
        INSERT INTO results BY NAME SELECT ? AS result_id, ? AS batch_id, ? AS rows, ? AS bytes,
            ? AS recorded_at, (SELECT coalesce(max(sequence), 0) + 1 FROM results) AS sequence
        """,
        result_id, batch_id, finals.height, size, now(),
    )  # fmt: skip
    _add_parts(transaction, result_id, finals.filter(pl.col("destination_id") == FILE))
    pushed = finals.filter(pl.col("destination_id") != FILE)
    if pushed.height:
        add_deliveries(transaction, result_id, pushed)


def _add_parts(transaction: Transaction, result_id: int, finals: pl.DataFrame) -> None:
    """Record what goes to files, one part a job."""
    jobs = finals.group_by("job_id").len().sort("job_id")
    first = (transaction.value("SELECT max(part_id) FROM parts") or 0) + 1
    for number, (job_id, rows) in enumerate(jobs.iter_rows()):
        transaction.execute(
            """
            INSERT INTO parts (part_id, job_id, result_id, state, rows, created_at, attempts)
            VALUES (?, ?, ?, 'pending', ?, ?, 0)
            """,
            first + number, job_id, result_id, rows, now(),
        )  # fmt: skip


def own_results_waiting(reader: Transaction) -> int:
    """Return how many final requests have no result yet, because no provider line exists."""
    return int(
        reader.value(
            "SELECT count(*) FROM requests WHERE result_id IS NULL "
            "AND state IN ('succeeded', 'failed', 'cancelled')"
        )
    )


def write_own_results_of_requests(ledger: Ledger) -> int:
    """Write a result for every final request that has none; return how many those were.

    They are requests that ended here: cancelled, refused, worn out, or without an answer.
    """
    with ledger.transaction() as reader:
        waiting = reader.frame(
            """
            SELECT segment, row_index, job_id, destination_id, custom_id, requests.state,
                error_code AS own_code, left(batches.fault_message, $2) AS detail
            FROM requests LEFT JOIN batches
                ON batches.batch_id = requests.batch_id
                AND error_code IN ('obm_batch_refused', 'obm_batch_lost')
            WHERE result_id IS NULL AND requests.state IN ('failed', 'cancelled')
            ORDER BY segment, row_index LIMIT $1
            """,
            OWN_RESULTS_A_FILE, LONGEST_DETAIL,
        )  # fmt: skip
        lowest = reader.value("SELECT min(result_id) FROM results") or 0
        last_batch = reader.value("SELECT max(batch_id) FROM batches") or 0
    if not waiting.height:
        return 0
    waiting = with_reasons(ledger.directory, waiting)
    result_id = _number_of_file(ledger, min(lowest, 0), waiting)
    size = write_own_results(
        result_path(ledger.directory, result_id), iter([waiting]), after_batch=last_batch
    )
    with ledger.transaction() as transaction, transaction.table("waiting", waiting):
        transaction.execute(
            "UPDATE requests SET result_id = ?, result_bytes = 300 FROM waiting "
            "WHERE requests.segment = waiting.segment AND requests.row_index = waiting.row_index "
            "AND requests.result_id IS NULL AND requests.state = waiting.state",
            result_id,
        )
        _add_result(transaction, result_id, None, waiting, size)
    return waiting.height


def _number_of_file(ledger: Ledger, lowest: int, waiting: pl.DataFrame) -> int:
    """Return the number for a file of these results: the one of a killed run, or a new one.

    A restored ledger may not know every file, so an unknown one is written anew only if it
    holds nothing but what waits now: then a kill came between the file and its recording.
    """
    on_disk = _lowest_on_disk(ledger)
    if on_disk < lowest and _holds_only(result_path(ledger.directory, on_disk), waiting):
        return on_disk
    return min(lowest, on_disk) - 1


def _holds_only(path: Path, waiting: pl.DataFrame) -> bool:
    place = ["segment", "row_index"]
    try:
        held = pl.read_parquet(path, columns=place)
    except (pl.exceptions.PolarsError, OSError):
        return False
    wanted = waiting.select(pl.col(place).cast(pl.Int64))
    return held.cast(pl.Int64).join(wanted, on=place, how="anti").is_empty()


def _lowest_on_disk(ledger: Ledger) -> int:
    """Return the lowest number of a result file: an older ledger may not know all of them."""
    found = (result_number(path) for path in ledger.directory.results.glob("own-*.parquet"))
    return min((number for number in found if number is not None), default=0)
