"""Mending what is safe to mend.

Each repair looks again before it acts, so it may be repeated; none of them sends, buys or forgets
a request or a result.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from batching.errors import BadInput
from storage.batches import cancel_unsent
from storage.deliveries import add_deliveries
from storage.directory import DataDirectory
from storage.doctor.bookkeeping import PAUSE_WITHOUT_REFUSAL, WAIT_WITHOUT_SINCE
from storage.doctor.diagnosis import PATIENCE_SECONDS, examination_of, examine
from storage.doctor.duties import LOST_DELIVERIES
from storage.doctor.findings import Report
from storage.doctor.orphans import temporaries
from storage.doctor.part_rescue import rescue_parts
from storage.doctor.references import MISSING_TARGETS
from storage.doctor.request_states import STUCK_UNSENT
from storage.doctor.result_lines import ResultFiles
from storage.doctor.result_rebuilding import rebuild_result
from storage.ledger import Ledger, Transaction, now
from storage.locks import exclusive_lock_if_free

ACTOR: Final = "doctor"
FLOWS: Final = ("ingest", "submit", "track", "deliver")
"""Who may be at work on files; a repair of files owns them all."""
_WAIT_SECONDS: Final = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What became of one kind of finding."""

    code: str
    mended: int
    problems: tuple[str, ...] = ()
    """Why the others could not be mended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """What was mended, and how it is now."""

    repairs: tuple[Repair, ...]
    report: Report


def treat(ledger: Ledger, *, patience_seconds: float = PATIENCE_SECONDS) -> Treatment:
    """Examine, mend what is safe to mend, and examine again."""
    before = examine(ledger.directory, patience_seconds=patience_seconds)
    wanted = {finding.code for finding in before.findings if finding.repairable}
    if not wanted:
        return Treatment(repairs=(), report=before)
    repairs = [
        _in_the_ledger(ledger, code, mend) for code, mend in _IN_LEDGER.items() if code in wanted
    ]
    if wanted & _RESULT_CODES:
        repairs.append(_alone(ledger.directory, "result_files", lambda: _rebuild(ledger)))
    if "lost_part" in wanted:
        repairs.append(_alone(ledger.directory, "lost_part", lambda: rescue_parts(ledger)))
    if "orphan_temporary" in wanted:
        repairs.append(
            _alone(
                ledger.directory, "orphan_temporary",
                lambda: _remove_temporaries(ledger, patience_seconds),
            )
        )  # fmt: skip
    after = examine(ledger.directory, patience_seconds=patience_seconds)
    return Treatment(repairs=tuple(repairs), report=after)


# In the ledger alone ----------------------------------------------------------------------


def _release_unsent(transaction: Transaction) -> int:
    """Let requests wait again whose batch never existed, or end those to be cancelled."""
    stuck = f"""rowid IN (SELECT requests.rowid FROM requests JOIN batches USING (batch_id)
        WHERE {STUCK_UNSENT})"""
    ended = transaction.execute(
        "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', finished_at = ? "
        f"WHERE cancel_requested AND {stuck}",
        now(),
    )
    return ended + transaction.execute(
        f"UPDATE requests SET state = 'pending', batch_id = NULL WHERE {stuck}"
    )


def _carry_out_cancels(transaction: Transaction) -> int:
    return cancel_unsent(transaction, actor=ACTOR)


def _add_lost_deliveries(transaction: Transaction) -> int:
    lost = transaction.frame(f"{LOST_DELIVERIES} ORDER BY result_id, segment, row_index")
    for (result_id,), rows in lost.group_by("result_id", maintain_order=True):
        add_deliveries(transaction, int(str(result_id)), rows)
    if lost.height:
        transaction.execute(
            "UPDATE jobs SET completed_at = NULL WHERE list_contains(?, job_id)",
            lost["job_id"].unique().to_list(),
        )
    return lost.height


def _add_targets(transaction: Transaction) -> int:
    return transaction.execute(
        "INSERT INTO targets (target, kind, openings) SELECT target, kind, 0 "
        f"FROM ({MISSING_TARGETS})"
    )


def _forget_attempts(transaction: Transaction) -> int:
    return transaction.execute(
        "DELETE FROM attempts WHERE delivery_id NOT IN (SELECT delivery_id FROM deliveries)"
    )


def _forget_wait(transaction: Transaction) -> int:
    return transaction.execute(
        "UPDATE lanes SET wait_reason = NULL, wait_detail = NULL, waiting_since = NULL "
        f"WHERE {WAIT_WITHOUT_SINCE}"
    )


def _end_pause(transaction: Transaction) -> int:
    return transaction.execute(
        f"UPDATE lanes SET refusals = 0, backoff_until = NULL WHERE {PAUSE_WITHOUT_REFUSAL}"
    )


_IN_LEDGER: Final[Mapping[str, Callable[[Transaction], int]]] = {
    "stuck_unsent": _release_unsent,
    "cancel_not_carried_out": _carry_out_cancels,
    "lost_delivery": _add_lost_deliveries,
    "destinations_target": _add_targets,
    "attempts_delivery": _forget_attempts,
    "wait_without_since": _forget_wait,
    "pause_without_refusal": _end_pause,
}


def _in_the_ledger(ledger: Ledger, code: str, mend: Callable[[Transaction], int]) -> Repair:
    with ledger.transaction() as transaction:
        mended = mend(transaction)
        if mended:
            transaction.record_move(
                "doctor", code, "repaired", actor=ACTOR, reason=f"{mended} mended"
            )
    return Repair(code=code, mended=mended)


# In the files, while nobody else works on them ---------------------------------------------

_RESULT_CODES: Final = frozenset(
    {
        "result_file_missing", "result_file_changed", "result_without_line",
        "result_of_another_request",
    }
)  # fmt: skip


def _rebuild(ledger: Ledger) -> tuple[int, list[str]]:
    with examination_of(ledger.directory) as examination:
        files = ResultFiles(examination)
        list(files.check())
        installation = examination.installation
    problems = []
    for result_id in sorted(files.damaged):
        try:
            rebuild_result(ledger, result_id, installation=installation)
        except (BadInput, OSError) as error:
            problems.append(f"result {result_id}: {error}")
    return len(files.damaged) - len(problems), problems


def _remove_temporaries(ledger: Ledger, patience_seconds: float) -> tuple[int, list[str]]:
    with examination_of(ledger.directory, patience_seconds=patience_seconds) as examination:
        found = temporaries(examination)
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        with ledger.transaction() as transaction:
            transaction.record_move(
                "doctor", "orphan_temporary", "repaired", actor=ACTOR,
                reason=f"{len(found)} half-written files deleted",
            )  # fmt: skip
    return len(found), []


def _alone(
    directory: DataDirectory, code: str, mend: Callable[[], tuple[int, list[str]]]
) -> Repair:
    with _owning_flows(directory) as busy:
        if busy is not None:
            problem = f"the flow {busy} is at work: run `obm doctor --repair` again"
            return Repair(code=code, mended=0, problems=(problem,))
        mended, problems = mend()
    return Repair(code=code, mended=mended, problems=tuple(problems))


@contextmanager
def _owning_flows(directory: DataDirectory) -> Iterator[str | None]:
    """Own every flow; yield the name of one that does not come to its end."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with ExitStack() as stack:
        for flow in FLOWS:
            path = directory.locks / f"{flow}.lock"
            while not stack.enter_context(exclusive_lock_if_free(path)):
                if time.monotonic() >= deadline:
                    yield flow
                    return
                time.sleep(0.1)
        yield None
