"""Why requests are no longer valid, told to those who sent them."""

from typing import Final

import polars as pl

from batching.line_faults import Refusal
from batching.requests import ReadingRules, read_request
from batching.result_lines import OwnCode
from storage.directory import DataDirectory
from storage.received_lines import rules_for_received
from storage.segment_reading import read_rows
from storage.segments import segment_path

_LONGEST_REASON: Final = 1_000


def with_reasons(directory: DataDirectory, waiting: pl.DataFrame) -> pl.DataFrame:
    """Return requests that wait for a result of ours, those no longer valid with the reason.

    `waiting` has segment, row_index, own_code and detail.
    """
    outdated = waiting.filter(pl.col("own_code") == OwnCode.NO_LONGER_VALID.value)
    if not outdated.height:
        return waiting
    reasons = pl.concat(
        rows.select("segment", "row_index").with_columns(
            pl.Series("reason", _reasons(directory, int(str(segment)), rows), dtype=pl.String)
        )
        for (segment,), rows in outdated.group_by("segment")
    )
    return (
        waiting.join(reasons, on=["segment", "row_index"], how="left", maintain_order="left")
        .with_columns(pl.coalesce("reason", "detail").alias("detail"))
        .drop("reason")
    )


def _reasons(directory: DataDirectory, segment: int, rows: pl.DataFrame) -> list[str | None]:
    path, rules = segment_path(directory.segments, segment), rules_for_received(ReadingRules())
    try:
        tables = list(read_rows(path, rows["row_index"], ["body"]))
    except (OSError, IndexError):
        return [None] * rows.height
    lines = [line.as_py() for table in tables for line in table["body"]]
    found = [read_request(line, rules) for line in lines]
    return [
        f"The reason: {refusal.reason[:_LONGEST_REASON]}" if isinstance(refusal, Refusal) else None
        for refusal in found
    ]
