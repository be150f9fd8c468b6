"""A custom_id is accepted once in its job; whatever else had it ended as a refused duplicate."""

from collections.abc import Iterator
from typing import Final

from batching.result_lines import OwnCode
from storage.doctor.examination import REQUEST_ID, Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind

_REFUSED: Final = f"error_code IS NOT DISTINCT FROM '{OwnCode.DUPLICATE_CUSTOM_ID.value}'"

_RULES: Final = (
    Rule(
        kind=Kind(
            check=Check.CUSTOM_IDS,
            code="custom_id_twice",
            explanation="Several requests of one job have the same custom_id, so their results "
            "cannot be told apart, and one of them may have been paid for nothing.",
            remedy="Find out with `GET /api/requests/{custom_id}` and the segment which one was "
            "meant, and cancel the other while it is pending.",
        ),
        # The hashes find suspects in little memory; only those are compared by their text.
        sql=f"""
        SELECT {REQUEST_ID} AS id FROM requests JOIN (
            SELECT job_id, custom_id FROM requests SEMI JOIN (
                SELECT job_id, id_hash FROM requests WHERE NOT ({_REFUSED})
                GROUP BY job_id, id_hash HAVING count(*) > 1) USING (job_id, id_hash)
            WHERE NOT ({_REFUSED})
            GROUP BY job_id, custom_id HAVING count(*) > 1) USING (job_id, custom_id)
        WHERE NOT ({_REFUSED})
        """,
    ),
)


def check_custom_ids(examination: Examination) -> Iterator[Finding]:
    """Yield requests that share their custom_id with another one of their job."""
    yield from apply(examination.reader, _RULES)
