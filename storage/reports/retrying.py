"""What retrying a job would send again, and what it would leave."""

from batching.lifecycle import RequestState
from batching.result_lines import OwnCode
from storage.ledger import Transaction


def retry_forecast(reader: Transaction, job: str, *, cancelled_too: bool) -> dict[str, int]:
    """Return how many requests of a job would run `again`, and how many stay as they are.

    `unrecorded` can be retried once their results are recorded; `duplicates` never, as their job
    has an answer under the same custom_id.
    """
    states = [RequestState.FAILED.value]
    states += [RequestState.CANCELLED.value] if cancelled_too else []
    found = reader.row(
        """
        SELECT count(*) FILTER (NOT refused AND result_id IS NOT NULL) AS again,
            count(*) FILTER (NOT refused AND result_id IS NULL) AS unrecorded,
            count(*) FILTER (refused) AS duplicates
        FROM (SELECT result_id, coalesce(error_code = ?, false) AS refused
            FROM requests JOIN jobs USING (job_id)
            WHERE jobs.name = ? AND list_contains(?, requests.state))
        """,
        OwnCode.DUPLICATE_CUSTOM_ID, job, states,
    )  # fmt: skip
    return found or {}
