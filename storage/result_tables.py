"""Results as a table: the columns of Parquet files that people read."""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq

from storage.result_files import COLUMNS

TABLE_COLUMNS: Final = (
    "custom_id", "status", "status_code", "model", "finish_reason", "input_tokens",
    "cached_tokens", "output_tokens", "reasoning_tokens", "content", "error_code",
    "error_message", "request_id",
)  # fmt: skip
"""What is known of a result, beside the line itself."""
_KINDS = {name: COLUMNS[name] for name in TABLE_COLUMNS} | {"line": pl.String}
_SCHEMA = pl.DataFrame(schema=_KINDS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
_REPEATING = [name for name in TABLE_COLUMNS if name not in {"custom_id", "content", "request_id"}]


def open_table(sink: Any) -> pq.ParquetWriter:
    """Return a writer of such tables to a binary file, or to anything that can be written to."""
    return pq.ParquetWriter(
        sink, _SCHEMA, compression="zstd", compression_level=1,
        use_dictionary=_REPEATING, write_statistics=False, store_schema=False,
    )  # fmt: skip


def result_table(rows: pl.DataFrame, lines: Sequence[bytes]) -> Any:
    """Return these rows of a result file with their lines as they are delivered, as Arrow."""
    text = [line.rstrip(b"\n").decode("utf-8", "replace") for line in lines]
    table = rows.select(TABLE_COLUMNS).with_columns(pl.Series("line", text, dtype=pl.String))
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())
