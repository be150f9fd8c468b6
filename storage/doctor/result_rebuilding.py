"""Writing a damaged result file anew: from the batch's raw files, or from the codes in the ledger.

Nothing is put in place unless it holds every result that was recorded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from batching.errors import BadInput
from batching.outcomes import Answer
from storage.answer_files import ERROR, OUTPUT, AnswerIndex, index_answers
from storage.batch_files import error_path, output_path
from storage.destinations import FILE
from storage.doctor.findings import Check
from storage.ledger import Ledger, Transaction
from storage.result_files import result_path, write_own_results, write_provider_results
from storage.results import LONGEST_DETAIL

ACTOR = "doctor"
_KEY = ["segment", "row_index"]


def rebuild_result(ledger: Ledger, result_id: int, *, installation: str) -> None:
    """Write a result file anew, from what is left; BadInput says why that cannot be done.

    Nobody else may write results meanwhile.
    """
    with ledger.transaction() as reader:
        recorded = reader.value("SELECT rows FROM results WHERE result_id = ?", result_id)
        if recorded is None:
            raise BadInput(f"the ledger knows no result file {result_id}")
        requests = _requests(reader, result_id)
        status = reader.value("SELECT provider_status FROM batches WHERE batch_id = ?", result_id)
    target = result_path(ledger.directory, result_id)
    if result_id < 0:
        _check_rows(requests.height, recorded, "requests that say why they ended")
        size = write_own_results(target, iter([requests]))
    else:
        files = _raw_files(ledger, result_id)
        lines = _lines(files, installation=installation, status=status or "")
        finals = _finals(ledger, result_id, requests, lines, recorded)
        size = write_provider_results(target, finals, files)
    with ledger.transaction() as transaction:
        transaction.execute("UPDATE results SET bytes = ? WHERE result_id = ?", size, result_id)
        transaction.record_move(
            "result", result_id, "rebuilt", actor=ACTOR, reason=Check.RESULT_LINES.value
        )


def _requests(reader: Transaction, result_id: int) -> pl.DataFrame:
    return reader.frame(
        """
        SELECT segment, row_index, job_id, destination_id, custom_id, requests.state,
            error_code AS own_code, result_bytes, left(batches.fault_message, $2) AS detail
        FROM requests LEFT JOIN batches ON batches.batch_id = requests.batch_id
            AND error_code IN ('obm_batch_refused', 'obm_batch_lost')
        WHERE result_id = $1 ORDER BY segment, row_index
        """,
        result_id, LONGEST_DETAIL,
    )  # fmt: skip


def _raw_files(ledger: Ledger, batch_id: int) -> dict[int, Path]:
    paths = {
        OUTPUT: output_path(ledger.directory, batch_id),
        ERROR: error_path(ledger.directory, batch_id),
    }
    files = {kind: path for kind, path in paths.items() if path.exists()}
    if not files:
        raise BadInput(f"the raw files of batch {batch_id} are not in batches/ any more")
    return files


def _lines(files: Mapping[int, Path], *, installation: str, status: str) -> pl.DataFrame:
    """Return the line that counts for each request, as reconciling chooses it."""
    index = AnswerIndex()
    for kind, path in files.items():
        index_answers(index, path, file=kind, installation=installation, batch_status=status)
    return (
        index.frame()
        .with_row_index("line_number")
        .sort(pl.col("outcome") != Answer.SUCCEEDED.value, "line_number", maintain_order=True)
        .unique(_KEY, keep="first", maintain_order=True)
        .select(*_KEY, "file", "offset", "length", "outcome")
    )


def _finals(
    ledger: Ledger, result_id: int, requests: pl.DataFrame, lines: pl.DataFrame, recorded: int
) -> pl.DataFrame:
    """Return the results with their lines: those that are in force, and those retried since."""
    ours = requests.join(lines, on=_KEY).filter(pl.col("length") == pl.col("result_bytes"))
    _check_rows(ours.height, requests.height, "raw lines of the requests that need it")
    if ours.height < recorded:
        earlier = lines.filter(pl.col("outcome") == Answer.FAILED.value).join(
            requests, on=_KEY, how="anti"
        )
        ours = pl.concat([ours, _retried(ledger, earlier)], how="diagonal")
    _check_rows(ours.height, recorded, f"raw lines of batch {result_id}")
    return ours.sort(_KEY).with_columns(pl.col("destination_id").fill_null(FILE))


def _retried(ledger: Ledger, lines: pl.DataFrame) -> pl.DataFrame:
    with ledger.transaction() as reader, reader.table("lines", lines):
        return reader.frame(
            "SELECT segment, row_index, job_id, destination_id, custom_id, 'failed' AS state, "
            "file, lines.offset, length FROM requests JOIN lines USING (segment, row_index)"
        )


def _check_rows(found: int, wanted: Any, what: str) -> None:
    if found != wanted:
        raise BadInput(f"{found:,} {what} are left, and there were {wanted:,} results")
