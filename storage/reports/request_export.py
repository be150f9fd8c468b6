"""All requests under a filter, piece by piece, for people's own tools."""

import io
from collections.abc import Iterator
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from storage.ledger import Transaction
from storage.reports.csv_cells import plain_cells
from storage.request_filter import RequestFilter, condition_of

ROWS_A_PIECE: Final = 20_000
"""Memory is bounded by this, however many requests there are."""
_TIMES: Final = ("accepted_at", "finished_at")
_PIECE: Final = """
SELECT $installation || '-' || requests.segment || '-' || requests.row_index AS id, custom_id,
    jobs.name AS job, requests.batch_id, endpoint, model, requests.state,
    coalesce(deliveries.state, parts.state) AS delivery_state, destinations.kind AS destination,
    target, requests.attempts, returns, coalesce(deliveries.attempts, 0) AS delivery_attempts,
    requests.status_code, error_code, wire_bytes AS request_bytes, tokens AS estimated_tokens,
    input_tokens, cached_tokens, output_tokens, reasoning_tokens, accepted_at,
    requests.finished_at
FROM (SELECT * FROM requests WHERE {condition} AND requests.segment = ?
        AND requests.row_index >= ? AND requests.row_index < ?) AS requests
    JOIN jobs USING (job_id) JOIN lanes USING (lane_id)
    JOIN destinations ON destinations.destination_id = requests.destination_id
    LEFT JOIN deliveries ON deliveries.segment = requests.segment
        AND deliveries.row_index = requests.row_index
        AND deliveries.result_id = requests.result_id
    LEFT JOIN parts ON parts.job_id = requests.job_id AND parts.result_id = requests.result_id
        AND requests.destination_id = 0
ORDER BY requests.segment, requests.row_index
"""


def request_pieces(reader: Transaction, wanted: RequestFilter) -> Iterator[pl.DataFrame]:
    """Yield the requests in the order in which they came in, at least one piece, perhaps empty."""
    installation = str(reader.value("SELECT value FROM meta WHERE key = 'installation'"))
    literal = "'" + installation.replace("'", "''") + "'"
    condition = condition_of(wanted)
    sql = _PIECE.replace("$installation", literal).replace("{condition}", condition.sql)
    segments = reader.rows(
        "SELECT segment, max(row_index) AS last FROM requests "
        f"WHERE {condition.sql} GROUP BY segment ORDER BY segment",
        *condition.parameters,
    )
    yield _zoned(reader.frame(sql, *condition.parameters, 0, 0, 0))
    for segment in segments:
        for first in range(0, segment["last"] + 1, ROWS_A_PIECE):
            place = (segment["segment"], first, first + ROWS_A_PIECE)
            piece = reader.frame(sql, *condition.parameters, *place)
            if piece.height:
                yield _zoned(piece)


def as_csv(pieces: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    """Yield the pieces as one CSV file with a heading; times in UTC, no cell a formula."""
    for number, piece in enumerate(pieces):
        text = io.BytesIO()
        plain_cells(piece).write_csv(
            text, include_header=number == 0, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ"
        )
        yield text.getvalue()


def as_parquet(pieces: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    """Yield the pieces as one Parquet file, a row group each."""
    sink = _Drained()
    first = next(pieces).to_arrow(compat_level=pl.CompatLevel.oldest())
    with pq.ParquetWriter(sink, first.schema, compression="zstd") as writer:
        for piece in pieces:
            table = piece.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(table.cast(first.schema))
            yield sink.drain()
    yield sink.drain()


class _Drained(io.RawIOBase):
    """A file that is only written, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()
        self._position = 0

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def tell(self) -> int:
        """Return how much was written in all."""
        return self._position

    def write(self, data: object, /) -> int:
        """Take the bytes."""
        taken = bytes(memoryview(data))  # type: ignore[arg-type]  # typeshed has no name for any buffer
        self._written += taken
        self._position += len(taken)
        return len(taken)

    def drain(self) -> bytes:
        """Return what was written since the last time."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _zoned(piece: pl.DataFrame) -> pl.DataFrame:
    return piece.with_columns(pl.col(name).dt.replace_time_zone("UTC") for name in _TIMES)
