"""Per batch: what was sent = succeeded + failed + cancelled + returned, plus what is still open."""

from collections.abc import Iterator
from typing import Final

import pyarrow.parquet as pq
from pyarrow import ArrowException

from batching.lifecycle import FINAL_BATCH_STATES
from storage.batch_files import batch_folder
from storage.doctor.examination import Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind, Severity

_CLOSED: Final = tuple(sorted(state.value for state in FINAL_BATCH_STATES))
_LOOK: Final = (
    "Compare batches/<batch>/manifest.parquet (what was sent) with output.jsonl and error.jsonl "
    "(what came back), then restore the ledger from the newest copy in backups/ that is right."
)


def _rule(code: str, explanation: str, sql: str, remedy: str = _LOOK) -> Rule:
    kind = Kind(
        check=Check.BATCH_COUNTS, code=code, explanation=explanation, remedy=remedy
    )  # fmt: skip
    return Rule(kind=kind, sql=sql)


_MEMBERS: Final = "SELECT batch_id, count(*) AS members FROM requests"
_RULES: Final = (
    _rule(
        "open_batch_members",
        "The batch is under way with another number of requests than the ledger holds for it, so "
        "some of its answers would belong to nobody.",
        f"""
        SELECT batches.batch_id || ' (' || requests || ' sent, '
            || coalesce(members, 0) || ' in the ledger)' AS id
        FROM batches LEFT JOIN ({_MEMBERS} WHERE state = 'batched' GROUP BY batch_id)
            USING (batch_id)
        WHERE state NOT IN {_CLOSED} AND requests <> coalesce(members, 0)
        """,
    ),
    _rule(
        "closed_batch_sum",
        "The batch is over, and what became of its requests does not add up to what was sent.",
        f"""
        SELECT batch_id || ' (' || requests || ' sent, '
            || coalesce((succeeded + failed + cancelled + returned)::VARCHAR, 'not counted')
            || ' accounted for)' AS id
        FROM batches WHERE state IN {_CLOSED}
            AND requests IS DISTINCT FROM succeeded + failed + cancelled + returned
        """,
    ),
    _rule(
        "more_ends_than_counted",
        "More requests say that they ended in this batch than the batch has counted.",
        f"""
        SELECT batches.batch_id AS id FROM batches JOIN (
            SELECT batch_id, count(*) FILTER (WHERE state = 'succeeded') AS good,
                count(*) FILTER (WHERE state = 'failed') AS bad,
                count(*) FILTER (WHERE state = 'cancelled') AS ended
            FROM requests WHERE batch_id IS NOT NULL GROUP BY batch_id) USING (batch_id)
        WHERE state IN {_CLOSED} AND (good > succeeded OR bad > failed OR ended > cancelled)
        """,
    ),
    _rule(
        "fewer_successes_than_counted",
        "The batch counted more successes than requests say that they succeeded in it, and "
        "nothing of it was forgotten: paid answers have lost their requests.",
        # Successes are never retried, so only retention can make them fewer; then some of the
        # batch's results have no request any more.
        """
        SELECT batches.batch_id AS id FROM batches
        JOIN results ON results.result_id = batches.batch_id
        JOIN (SELECT batch_id, count(*) FILTER (WHERE state = 'succeeded') AS good
            FROM requests GROUP BY batch_id) AS known ON known.batch_id = batches.batch_id
        JOIN (SELECT result_id, count(*) AS rows FROM requests GROUP BY result_id) AS lines
            ON lines.result_id = batches.batch_id
        WHERE state = 'collected' AND good < succeeded AND lines.rows = results.rows
        """,
    ),
    _rule(
        "collected_without_results",
        "The batch was collected with answers, and the ledger knows no result file of it.",
        """
        SELECT batch_id AS id FROM batches WHERE state = 'collected' AND succeeded > 0
            AND batch_id NOT IN (SELECT result_id FROM results)
        """,
    ),
    _rule(
        "more_results_than_answers",
        "The batch's result file holds more lines than requests ended in the batch.",
        """
        SELECT result_id AS id FROM results JOIN batches ON batches.batch_id = result_id
        WHERE rows > succeeded + failed + cancelled OR rows < succeeded
        """,
    ),
)

_MANIFEST: Final = Kind(
    check=Check.BATCH_COUNTS,
    code="manifest",
    severity=Severity.WARNING,
    explanation="The manifest of a batch at the provider is missing, damaged or names another "
    "number of requests: without the ledger nobody could say what is in the batch.",
    remedy="Keep a backup of the ledger until the batch is collected; the batch itself goes on.",
)


def check_batch_counts(examination: Examination) -> Iterator[Finding]:
    """Yield batches whose requests do not add up."""
    yield from apply(examination.reader, _RULES)
    yield from _manifests(examination)


def _manifests(examination: Examination) -> Iterator[Finding]:
    rows = examination.reader.rows(
        "SELECT batch_id, requests FROM batches "
        "WHERE state IN ('uploaded', 'submitting', 'submitted', 'ended') ORDER BY batch_id"
    )
    bad = [
        str(row["batch_id"])
        for row in rows
        if _manifest_rows(examination, row["batch_id"]) != row["requests"]
    ]
    if bad:
        yield _MANIFEST.found(bad)


def _manifest_rows(examination: Examination, batch_id: int) -> int | None:
    path = batch_folder(examination.directory, batch_id) / "manifest.parquet"
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ArrowException):
        return None
