"""Requests as people ask for them: one by its id, or many by what they have in common."""

from typing import Any, Final

import polars as pl

from batching.wire import RequestRef, encode_wire_id
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.request_filter import Condition, RequestFilter, condition_of
from storage.result_files import delivered_line, result_path
from storage.result_reading import read_range

NEWEST_FIRST: Final = "requests.segment DESC, requests.row_index DESC"
_DUPLICATE: Final = "obm_duplicate_custom_id"
_RESULT_COLUMNS: Final = (
    "segment", "row_index", "custom_id", "id_start", "id_end", "line", "error_message",
)  # fmt: skip
_REQUEST: Final = """
SELECT requests.segment, requests.row_index, requests.batch_id, custom_id, endpoint AS url, model,
    requests.tokens, target,
    requests.state, jobs.name AS job, jobs.job_id, config AS delivery_config, destinations.kind,
    wire_bytes AS request_payload_size, accepted_at AS created_at,
    coalesce(requests.finished_at, accepted_at) AS updated_at, requests.attempts, returns,
    cancel_requested, requests.status_code, error_code, requests.result_id,
    CASE WHEN requests.state = 'pending' THEN CASE WHEN jobs.paused THEN 'paused'
        ELSE wait_reason END END AS wait_reason,
    coalesce(deliveries.state, parts.state) AS delivery_state, delivery_id,
    coalesce(deliveries.attempts, 0) AS delivery_attempt_count
FROM {requests} AS requests JOIN jobs USING (job_id) JOIN lanes USING (lane_id)
    JOIN destinations ON destinations.destination_id = requests.destination_id
    LEFT JOIN deliveries ON deliveries.segment = requests.segment
        AND deliveries.row_index = requests.row_index
        AND deliveries.result_id = requests.result_id
    LEFT JOIN parts ON parts.job_id = requests.job_id AND parts.result_id = requests.result_id
        AND requests.destination_id = 0
"""


def requests_named(
    reader: Transaction, custom_id: str, *, job: str | None = None
) -> list[dict[str, Any]]:
    """Return the requests of this id, one a job: never a refused repeat beside the real one."""
    rows = reader.rows(
        _REQUEST.format(requests="requests")
        + "WHERE custom_id = $1 AND ($2::VARCHAR IS NULL OR jobs.name = $2) "
        "QUALIFY row_number() OVER (PARTITION BY requests.job_id ORDER BY "
        f"coalesce(error_code = '{_DUPLICATE}', false), requests.segment, requests.row_index) = 1 "
        "ORDER BY requests.job_id",
        custom_id, job,
    )  # fmt: skip
    return _with_ids(reader, rows)


def requests_page(
    reader: Transaction, wanted: RequestFilter, *, before: tuple[int, int] | None, most: int
) -> list[dict[str, Any]]:
    """Return requests, the newest first, that stand behind the place `before`."""
    condition = condition_of(wanted)
    if before is not None:
        condition = condition.also("(requests.segment, requests.row_index) < (?, ?)", *before)
    return requests_under(reader, condition, order=NEWEST_FIRST, most=most)


def requests_under(
    reader: Transaction,
    condition: Condition,
    *,
    order: str,
    most: int,
    offset: int = 0,
    order_when_found: str | None = None,
) -> list[dict[str, Any]]:
    """Return the requests under a condition, in an order of columns of `requests`.

    An order that can only be told from the whole table is said again for those that are found.
    """
    # What is shown beside a request is looked up for the few of the page only. The second limit
    # says that they are few: without it the deliveries of all requests are joined to them.
    few = (
        "(SELECT * FROM requests WHERE rowid IN (SELECT rowid FROM requests "
        f"WHERE {condition.sql} ORDER BY {order} LIMIT ? OFFSET ?) LIMIT {int(most)})"
    )
    rows = reader.rows(
        _REQUEST.format(requests=few) + f"ORDER BY {order_when_found or order}",
        *condition.parameters, most, offset,
    )  # fmt: skip
    return _with_ids(reader, rows)


def attempts_of(reader: Transaction, delivery_id: int | None) -> list[dict[str, Any]]:
    """Return the attempts to deliver, the newest first."""
    return reader.rows(
        "SELECT number, outcome, excerpt AS error_msg, attempted_at, status_code, "
        "duration_milliseconds AS duration_ms FROM attempts WHERE delivery_id = ? "
        "ORDER BY number DESC, attempted_at DESC LIMIT 1000",
        delivery_id,
    )


def result_of(directory: DataDirectory, request: dict[str, Any]) -> tuple[bytes | None, str | None]:
    """Return the result line as it is delivered, and its error in words; None if there is none."""
    if request["result_id"] is None:
        return None, None
    place = pl.DataFrame({name: [request[name]] for name in ("segment", "row_index")})
    try:
        near = read_range(result_path(directory, request["result_id"]), place, _RESULT_COLUMNS)
    except FileNotFoundError:
        return None, None
    found = near.filter(
        pl.col("segment") == request["segment"], pl.col("row_index") == request["row_index"]
    )
    if not found.height:
        return None, None
    row = found.row(0, named=True)
    line = delivered_line(row["line"], row["id_start"], row["id_end"], row["custom_id"])
    return line, row["error_message"]


def _with_ids(reader: Transaction, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    installation = str(reader.value("SELECT value FROM meta WHERE key = 'installation'"))
    for row in rows:
        ref = RequestRef(segment=row["segment"], row=row["row_index"])
        row["id"] = encode_wire_id(installation, ref)
    return rows
