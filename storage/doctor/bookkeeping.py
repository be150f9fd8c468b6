"""Batches and lanes: nothing is created twice, each state has what it needs, reservations are real.

What is reserved of a lane is the sum of `tokens` over its live batches, so each batch's own
figures must be the sums over its requests.
"""

from collections.abc import Iterator
from typing import Final

from batching.lifecycle import BatchState, WaitReason
from storage.doctor.examination import Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind, Severity

_STATES: Final = tuple(state.value for state in BatchState)
_REASONS: Final = tuple(reason.value for reason in WaitReason)
_RESTORE: Final = (
    "Stop the pipeline, look the batch up at the provider (its metadata holds `obm_batch`), and "
    "restore the newest copy of the ledger that is right (docs/operations.md)."
)


def _batches(
    code: str, condition: str, explanation: str, remedy: str = _RESTORE, *, repairable: bool = False
) -> Rule:
    kind = Kind(
        check=Check.BATCHES, code=code, explanation=explanation, remedy=remedy,
        repairable=repairable,
    )  # fmt: skip
    return Rule(kind=kind, sql=f"SELECT batch_id AS id FROM batches WHERE {condition}")


def _rule(code: str, explanation: str, remedy: str, sql: str) -> Rule:
    kind = Kind(check=Check.BATCHES, code=code, explanation=explanation, remedy=remedy)
    return Rule(kind=kind, sql=sql)


def _lanes(code: str, condition: str, explanation: str, remedy: str) -> Rule:
    kind = Kind(
        check=Check.BATCHES, code=code, severity=Severity.WARNING, explanation=explanation,
        remedy=remedy, repairable=True,
    )  # fmt: skip
    return Rule(
        kind=kind,
        sql=f"SELECT 'lane ' || lane_id || ' ' || model AS id FROM lanes WHERE {condition}",
    )


CANCEL_NOT_CARRIED_OUT: Final = "cancel_requested AND state IN ('planned', 'uploaded')"
WAIT_WITHOUT_SINCE: Final = (
    "(wait_reason IS NULL) <> (waiting_since IS NULL) "
    f"OR (wait_reason IS NOT NULL AND wait_reason NOT IN {_REASONS})"
)
PAUSE_WITHOUT_REFUSAL: Final = "(backoff_until IS NULL) <> (refusals = 0)"

_NEEDS: Final = (
    ("planned", "input_file_id IS NOT NULL OR provider_id IS NOT NULL", "has been sent already"),
    ("uploaded", "input_file_id IS NULL OR provider_id IS NOT NULL",
     "has no uploaded file, or a batch at the provider already"),
    ("submitting", ("input_file_id IS NULL OR intent_at IS NULL OR create_attempt < 1 "
     "OR provider_id IS NOT NULL"), "has no recorded intent, or a batch at the provider already"),
    ("submitted", "provider_id IS NULL OR submitted_at IS NULL",
     "has no batch at the provider that could be polled"),
    ("ended", "provider_id IS NULL OR ended_at IS NULL",
     "has no batch at the provider whose files could be fetched"),
)  # fmt: skip

_RULES: Final = (
    _batches(
        "unknown_batch_state",
        f"state NOT IN {_STATES}",
        "The batch is in a state that does not exist, so nothing will ever happen to it.",
    ),
    *(
        _batches(
            f"{state}_without_needs",
            f"state = '{state}' AND ({condition})",
            f"The batch is `{state}` and {lack}, so it would stand still or be paid twice.",
        )
        for state, condition, lack in _NEEDS
    ),
    _batches(
        "closed_without_end",
        "state IN ('collected', 'failed', 'cancelled') AND finished_at IS NULL",
        "The batch is over and has no time of its end, so retention never forgets its files.",
    ),
    _batches(
        "cancel_not_carried_out",
        CANCEL_NOT_CARRIED_OUT,
        "The batch is to be cancelled, does not exist at the provider and still waits to be sent.",
        "End it: nothing of it was paid.",
        repairable=True,
    ),
    _batches(
        "live_without_create",
        "state IN ('submitted', 'ended') AND NOT EXISTS (SELECT 1 FROM creates "
        "WHERE creates.batch_id = batches.batch_id AND creates.provider_id = batches.provider_id)",
        "The batch is at the provider under an id that was never recorded as created, so it could "
        "be adopted a second time.",
    ),
    _rule(
        "provider_id_twice",
        "One batch of the provider belongs to two of ours, so its answers would be taken for both.",
        _RESTORE,
        """
        SELECT provider_id AS id FROM (
            SELECT DISTINCT provider_id, account, batch_id
            FROM creates JOIN batches USING (batch_id) JOIN lanes USING (lane_id)
            UNION SELECT batches.provider_id, account, batch_id
            FROM batches JOIN lanes USING (lane_id) WHERE batches.provider_id IS NOT NULL)
        GROUP BY provider_id, account HAVING count(*) > 1
        """.replace("SELECT DISTINCT provider_id", "SELECT DISTINCT creates.provider_id"),
    ),
    _rule(
        "created_twice",
        "One attempt at creating this batch has made several batches at the provider: each of "
        "them is paid.",
        "Cancel all but the one that the ledger names (`GET /api/batches/<batch>`), at the "
        "provider.",
        """
        SELECT batch_id || ' attempt ' || attempt AS id FROM creates
        GROUP BY batch_id, attempt HAVING count(*) > 1
        """,
    ),
    _rule(
        "input_file_twice",
        "One input file at the provider belongs to several batches, so the same requests could be "
        "paid twice.",
        _RESTORE,
        """
        SELECT input_file_id AS id FROM batches JOIN lanes USING (lane_id)
        WHERE input_file_id IS NOT NULL GROUP BY input_file_id, account HAVING count(*) > 1
        """,
    ),
    _rule(
        "reservation",
        "What the batch holds of its lane's capacity is not the sum over its requests, so the "
        "lane sends too much or stands still.",
        "It is right again when the batch has ended; until then restore the ledger, or wait.",
        """
        SELECT batch_id || ' (' || batches.tokens || ' tokens reserved, ' || sums.tokens
            || ' in its requests)' AS id
        FROM batches JOIN (
            SELECT batch_id, sum(tokens)::BIGINT AS tokens, sum(wire_bytes)::BIGINT AS bytes,
                sum(embedding_inputs)::BIGINT AS inputs
            FROM requests WHERE state = 'batched' GROUP BY batch_id) AS sums USING (batch_id)
        WHERE state IN ('planned', 'uploaded', 'submitting', 'submitted')
            AND (batches.tokens <> sums.tokens OR batches.bytes <> sums.bytes
                OR batches.embedding_inputs <> sums.inputs)
        """,
    ),
    _lanes(
        "wait_without_since",
        WAIT_WITHOUT_SINCE,
        "The lane says why it waits but not since when, or the other way round.",
        "Forget the reason; the next submit run records it anew.",
    ),
    _lanes(
        "pause_without_refusal",
        PAUSE_WITHOUT_REFUSAL,
        "The lane pauses without a refusal, or was refused and does not say until when it pauses.",
        "End the pause; a refusal, which costs nothing, begins it anew.",
    ),
)


def check_batches(examination: Examination) -> Iterator[Finding]:
    """Yield batches and lanes whose books are wrong."""
    yield from apply(examination.reader, _RULES)
