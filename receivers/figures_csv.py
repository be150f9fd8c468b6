"""Figures as CSV: one row a piece, its columns in the order of the report."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from storage.reports.csv_cells import plain_cell


def figures_csv(data: Any) -> str:
    """Return what a report says as CSV; of a distribution its histogram, of one figure one row.

    What is not known is empty, never 0.
    """
    rows = _rows(data)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _rows(data: Any) -> Sequence[Mapping[str, Any]]:
    if data is None:
        return []
    if isinstance(data, Mapping):
        buckets = data.get("buckets")
        return buckets if buckets is not None else [data]
    return [row if isinstance(row, Mapping) else {"value": row} for row in data]


def _cell(value: Any) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, (list, tuple)):
        return plain_cell(" ".join(str(one) for one in value))
    if isinstance(value, str):
        return plain_cell(value)
    return "" if value is None else value
