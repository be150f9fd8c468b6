"""What the files say that the ledger does not know: which batch sent a request, what came back.

Manifests and results are laid into temporary tables. The highest batch that a request was sent
with counts, unless a result of that batch, or one written after it, has ended the request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from storage.batch_files import manifest_path
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.result_files import AFTER_BATCH_KEY, result_number
from storage.segment_reading import segment_metadata

_RESULT_COLUMNS = (
    "segment, row_index, job_id, {destination} AS destination_id, status, status_code, error_code, "
    "input_tokens, cached_tokens, output_tokens, reasoning_tokens, octet_length(line) AS size"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A batch's manifest that the ledger does not know."""

    batch_id: int
    path: Path
    written_at: datetime
    account: str | None
    endpoint: str | None
    model: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFile:
    """A result file that the ledger does not know."""

    result_id: int
    path: Path
    written_at: datetime
    after: float
    """The batch it belongs to, or a half more than the last one before it was written."""


def unknown_manifests(reader: Transaction, directory: DataDirectory) -> list[Manifest]:
    """Return the manifests of batches that the ledger does not know."""
    known = {row["batch_id"] for row in reader.rows("SELECT batch_id FROM batches")}
    numbers = sorted(int(path.name) for path in directory.batches.iterdir() if _is_number(path))
    return [
        _manifest(manifest_path(directory, number), number)
        for number in numbers
        if number not in known and manifest_path(directory, number).exists()
    ]


def unknown_results(
    reader: Transaction, directory: DataDirectory, manifests: Sequence[Manifest]
) -> list[ResultFile]:
    """Return the result files that the ledger does not know."""
    known = {row["result_id"] for row in reader.rows("SELECT result_id FROM results")}
    found = []
    for path in sorted(directory.results.glob("*.parquet")):
        number = result_number(path)
        if number is not None and number not in known:
            found.append(_result_file(path, number, manifests))
    return found


def installation_in(directory: DataDirectory) -> str | None:
    """Return the name of the installation that the newest manifest tells."""
    for path in sorted(directory.batches.glob("*/manifest.parquet"), reverse=True):
        told = segment_metadata(path)[1].get("obm.installation")
        if told:
            return told
    return None


def segments_spoken_of(
    reader: Transaction, manifests: Sequence[Manifest], results: Sequence[ResultFile]
) -> frozenset[int]:
    """Return the segments of which manifests or results speak."""
    paths = [file.path for file in manifests] + [file.path for file in results]
    return frozenset(
        row["segment"]
        for path in paths
        for row in reader.rows("SELECT DISTINCT segment FROM read_parquet(?)", path)
    )


def lay_out(
    transaction: Transaction, manifests: Sequence[Manifest], results: Sequence[ResultFile]
) -> None:
    """Make the tables `sent`, `answered`, `latest` (batch) and `final` (result) of requests."""
    transaction.execute(
        "CREATE TEMP TABLE sent "
        "(batch_id INTEGER, segment INTEGER, row_index INTEGER, attempts INTEGER)"
    )
    for manifest in manifests:
        transaction.execute(
            "INSERT INTO sent SELECT ?, segment, row_index, attempts FROM read_parquet(?)",
            manifest.batch_id, manifest.path,
        )  # fmt: skip
    transaction.execute(
        "CREATE TEMP TABLE answered (result_id INTEGER, after_batch DOUBLE, segment INTEGER, "
        "row_index INTEGER, job_id INTEGER, destination_id INTEGER, status VARCHAR, "
        "status_code SMALLINT, error_code VARCHAR, input_tokens INTEGER, cached_tokens INTEGER, "
        "output_tokens INTEGER, reasoning_tokens INTEGER, size INTEGER)"
    )
    for file in results:
        names = pq.read_schema(file.path).names
        destination = "destination_id" if "destination_id" in names else "0"
        columns = _RESULT_COLUMNS.format(destination=destination)
        transaction.execute(
            f"INSERT INTO answered SELECT $1::INTEGER, $2::DOUBLE, {columns} "
            "FROM read_parquet($3)",
            file.result_id, file.after, file.path,
        )  # fmt: skip
    transaction.execute(
        "CREATE TEMP TABLE latest AS SELECT segment, row_index, max(batch_id) AS batch_id, "
        "arg_max(attempts, batch_id) AS attempts FROM sent GROUP BY segment, row_index"
    )
    transaction.execute(
        """
        CREATE TEMP TABLE final AS
        SELECT answers.* EXCLUDE (place), latest.attempts FROM (
            SELECT *, row_number() OVER (
                PARTITION BY segment, row_index ORDER BY after_batch DESC) AS place
            FROM answered) AS answers
        LEFT JOIN latest USING (segment, row_index)
        WHERE place = 1 AND after_batch >= coalesce(latest.batch_id, 0)
        """
    )


def forget_layout(transaction: Transaction) -> None:
    """Take the temporary tables away."""
    for table in ("sent", "answered", "latest", "final"):
        transaction.execute(f"DROP TABLE {table}")


def _is_number(path: Path) -> bool:
    return path.name.isdecimal()


def _manifest(path: Path, number: int) -> Manifest:
    told = segment_metadata(path)[1]
    return Manifest(
        batch_id=number,
        path=path,
        written_at=_written_at(path),
        account=told.get("obm.account"),
        endpoint=told.get("obm.endpoint"),
        model=told.get("obm.model"),
    )


def _result_file(path: Path, number: int, manifests: Sequence[Manifest]) -> ResultFile:
    return ResultFile(
        result_id=number,
        path=path,
        written_at=_written_at(path),
        after=float(number) if number > 0 else _after(path, manifests) + 0.5,
    )


def _after(path: Path, manifests: Sequence[Manifest]) -> int:
    """Return the last batch before a file of results made here; by time for earlier versions."""
    told = segment_metadata(path)[1].get(AFTER_BATCH_KEY)
    if told is not None:
        return int(told)
    moment = _written_at(path)
    return max(
        (manifest.batch_id for manifest in manifests if manifest.written_at <= moment), default=0
    )


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
