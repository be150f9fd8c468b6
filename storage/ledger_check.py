"""Whether the ledger can be read at all."""

import duckdb

from batching.errors import BatchManagerError
from storage.directory import DataDirectory
from storage.inquiries import check_schema
from storage.snapshots import snapshot


def ledger_trouble(directory: DataDirectory) -> str | None:
    """Return why nobody can read the ledger now, in words; None if one can."""
    if not directory.ledger.exists():
        return "there is no ledger yet: it is made when the pipeline starts"
    try:
        with snapshot(directory, max_age_seconds=1.0) as reader:
            check_schema(reader)
            reader.value("SELECT count(*) FROM jobs")
    except (duckdb.Error, BatchManagerError, OSError) as error:
        return str(error).splitlines()[0]
    return None
