"""Each final result has its delivery: a part of a file, or a delivery of its own."""

from collections.abc import Iterator
from typing import Final

from batching.lifecycle import DeliveryState
from storage.doctor.examination import REQUEST_ID, Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind

_STATES: Final = tuple(state.value for state in DeliveryState)
_WITH_PART: Final = (
    "(SELECT DISTINCT job_id, result_id FROM parts) AS known USING (job_id, result_id)"
)
_WITH_DELIVERY: Final = "(SELECT DISTINCT segment, row_index, result_id FROM deliveries)"

LOST_PARTS: Final = f"""
SELECT job_id, result_id, count(*) AS requests FROM requests ANTI JOIN {_WITH_PART}
WHERE result_id IS NOT NULL AND destination_id = 0
GROUP BY job_id, result_id
"""
"""Jobs with results in a result file that nobody brings to their folder."""
LOST_DELIVERIES: Final = f"""
SELECT segment, row_index, job_id, destination_id, result_id, custom_id
FROM requests ANTI JOIN {_WITH_DELIVERY} AS known USING (segment, row_index, result_id)
WHERE result_id IS NOT NULL AND destination_id <> 0
"""
"""Requests whose result nobody pushes to its destination."""


def _rule(code: str, explanation: str, remedy: str, sql: str, *, repairable: bool = False) -> Rule:
    kind = Kind(
        check=Check.DELIVERIES, code=code, explanation=explanation, remedy=remedy,
        repairable=repairable,
    )  # fmt: skip
    return Rule(kind=kind, sql=sql)


_CORRECT: Final = "Restore the newest copy of the ledger that is right, or correct this row."
_RULES: Final = (
    _rule(
        "lost_part",
        "Results of this job are in results/ and nobody brings them to its folder in the outbox.",
        "Let the deliver flow append them. If the folder's file has a hole, that is not done by "
        "itself, as they may stand there: see the check `outbox`.",
        f"""
        SELECT 'job ' || coalesce(name, job_id::VARCHAR) || ', result ' || result_id || ': '
            || requests || ' results' AS id
        FROM ({LOST_PARTS}) LEFT JOIN jobs USING (job_id)
        """,
        repairable=True,
    ),
    _rule(
        "lost_delivery",
        "The request's result is there and nobody pushes it to its destination.",
        "Record its delivery; the deliver flow pushes it.",
        f"SELECT {REQUEST_ID} AS id FROM ({LOST_DELIVERIES}) AS requests",
        repairable=True,
    ),
    _rule(
        "small_part",
        "A part of the outbox says that it has fewer lines than there are results for it.",
        _CORRECT,
        """
        SELECT 'part ' || part_id || ' (' || rows || ' lines, ' || results || ' results)' AS id
        FROM parts JOIN (SELECT job_id, result_id, count(*) AS results FROM requests
            WHERE destination_id = 0 AND result_id IS NOT NULL GROUP BY job_id, result_id)
            USING (job_id, result_id)
        WHERE rows < results
        """,
    ),
    _rule(
        "part_twice",
        "The results of one result file are brought to one job twice, so its lines would stand "
        "in the outbox twice.",
        "Delete the later part's lines from the outbox file, and the part from the ledger.",
        """
        SELECT 'job ' || coalesce(any_value(name), job_id::VARCHAR) || ', result ' || result_id
            AS id
        FROM parts LEFT JOIN jobs USING (job_id) GROUP BY job_id, result_id HAVING count(*) > 1
        """,
    ),
    _rule(
        "delivery_twice",
        "One result has two deliveries, so its receiver gets it twice.",
        "Cancel the one that is still pending (`POST /api/deliveries/<delivery>/cancel`).",
        """
        SELECT 'delivery ' || max(delivery_id) AS id FROM deliveries
        GROUP BY segment, row_index, result_id HAVING count(*) > 1
        """,
    ),
    _rule(
        "delivery_state",
        "The delivery is in a state that its columns do not allow, so it is never tried again or "
        "never counted as done.",
        "`obm redeliver` brings it again.",
        f"""
        SELECT 'delivery ' || delivery_id AS id FROM deliveries
        WHERE state NOT IN {_STATES} OR (state = 'pending') <> (finished_at IS NULL)
        """,
    ),
    _rule(
        "part_state",
        "The part is in a state that its columns do not allow.",
        _CORRECT,
        """
        SELECT 'part ' || part_id AS id FROM parts
        WHERE state NOT IN ('pending', 'delivered')
            OR (state = 'delivered' AND (folder IS NULL OR file IS NULL OR start_offset IS NULL
                OR end_offset IS NULL OR delivered_at IS NULL))
            OR (state = 'pending' AND end_offset IS NOT NULL)
        """,
    ),
)


def check_deliveries(examination: Examination) -> Iterator[Finding]:
    """Yield results without their delivery, and deliveries that contradict themselves."""
    yield from apply(examination.reader, _RULES)
