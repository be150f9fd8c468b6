"""Each request is in exactly one state that its columns allow.

Times are not compared with each other: a clock that was put back is no fault of the ledger.
"""

from collections.abc import Iterator
from typing import Final

from batching.lifecycle import FINAL_BATCH_STATES, RequestState
from batching.result_lines import OwnCode
from storage.doctor.examination import REQUEST_ID, Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind

_OWN_CODES: Final = tuple(code.value for code in OwnCode)
_CLOSED: Final = tuple(sorted(state.value for state in FINAL_BATCH_STATES))
_STATES: Final = tuple(state.value for state in RequestState)
_FINAL: Final = "('succeeded', 'failed', 'cancelled')"
_RESTORE: Final = (
    "Its ledger row was changed by hand or damaged: restore the newest copy from backups/ "
    "(docs/operations.md) or correct it with the help of this id."
)


def _rule(
    code: str, condition: str, explanation: str, remedy: str = _RESTORE, *, repairable: bool = False
) -> Rule:
    return Rule(
        kind=Kind(
            check=Check.REQUEST_STATES, code=code, explanation=explanation, remedy=remedy,
            repairable=repairable,
        ),
        sql=f"SELECT {REQUEST_ID} AS id FROM requests LEFT JOIN batches USING (batch_id) "
        f"WHERE {condition}",
    )  # fmt: skip


_NEVER_CREATED: Final = (
    "NOT EXISTS (SELECT 1 FROM creates WHERE creates.batch_id = batches.batch_id)"
)
STUCK_UNSENT: Final = (
    f"requests.state = 'batched' AND batches.state IN ('failed', 'cancelled') AND {_NEVER_CREATED}"
)
"""Batched requests of a batch that is over and never existed at the provider."""

_RULES: Final = (
    _rule(
        "unknown_state",
        f"requests.state NOT IN {_STATES}",
        "The request is in a state that does not exist, so nothing will ever happen to it.",
    ),
    _rule(
        "pending_with_traces",
        "requests.state = 'pending' AND (requests.batch_id IS NOT NULL "
        "OR requests.finished_at IS NOT NULL OR requests.result_id IS NOT NULL)",
        "The request is pending and belongs to a batch or has a result: sent again, it might be "
        "paid twice.",
    ),
    _rule(
        "batched_with_traces",
        "requests.state = 'batched' "
        "AND (requests.finished_at IS NOT NULL OR requests.result_id IS NOT NULL)",
        "The request is in a batch and says that it has ended.",
    ),
    _rule(
        "batched_without_batch",
        "requests.state = 'batched' AND batches.batch_id IS NULL",
        "The request is in a batch that does not exist, so its answer would never come.",
    ),
    _rule(
        "stuck_unsent",
        STUCK_UNSENT,
        "The request is in a batch that is over and was never created at the provider, so nobody "
        "has paid for it and nobody will answer it.",
        "Let it wait for another batch.",
        repairable=True,
    ),
    _rule(
        "stuck_in_closed_batch",
        f"requests.state = 'batched' AND batches.state IN {_CLOSED} AND NOT ({STUCK_UNSENT})",
        "The request is in a batch that is over and may have been paid, so no answer will be "
        "looked for any more.",
        "Look for its wire id in batches/<batch>/output.jsonl and error.jsonl, or at the "
        "provider, before it is sent again: that would be paid a second time.",
    ),
    _rule(
        "final_without_end",
        f"requests.state IN {_FINAL} AND requests.finished_at IS NULL",
        "The request is final and has no time of its end, so retention never forgets it.",
    ),
    _rule(
        "final_in_open_batch",
        f"requests.state IN {_FINAL} AND batches.state NOT IN {_CLOSED}",
        "The request is final and its batch is still open, so a second answer may come.",
    ),
    _rule(
        "final_of_unknown_batch",
        f"requests.state IN {_FINAL} AND requests.batch_id IS NOT NULL "
        "AND batches.batch_id IS NULL",
        "The request ended in a batch that does not exist.",
    ),
    _rule(
        "success_without_result",
        "requests.state = 'succeeded' AND (requests.result_id IS NULL OR requests.result_id < 0)",
        "The request has succeeded and its answer is nowhere recorded: a paid answer is lost to "
        "its user.",
    ),
    _rule(
        "no_result_and_no_code",
        "requests.state IN ('failed', 'cancelled') AND requests.result_id IS NULL "
        f"AND (error_code IS NULL OR error_code NOT IN {_OWN_CODES})",
        "The request ended without an answer and does not say why, so no result can be made.",
    ),
    _rule(
        "result_of_another_batch",
        f"requests.state IN {_FINAL} AND requests.result_id >= 0 "
        "AND requests.result_id IS DISTINCT FROM requests.batch_id",
        "The request's result is in the file of another batch than the one it was in.",
    ),
    _rule(
        "own_result_without_code",
        "requests.state IN ('failed', 'cancelled') AND requests.result_id < 0 "
        f"AND (error_code IS NULL OR error_code NOT IN {_OWN_CODES})",
        "The request has a result that was made here and no `obm_` code that says why.",
    ),
)  # fmt: skip


def check_request_states(examination: Examination) -> Iterator[Finding]:
    """Yield requests whose columns contradict their state."""
    yield from apply(examination.reader, _RULES)
