"""Ledgers of every schema version that users may have open in this version."""

from pathlib import Path

import pytest
import zstandard

from storage.directory import DataDirectory
from storage.ledger import Ledger, migrations
from storage.reports.progress import requests_by_state
from storage.snapshots import snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures"
VERSIONS = range(1, len(migrations()) + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ledger_of_an_earlier_schema_opens_with_everything_in_it(
    version: int, tmp_path: Path
) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    packed = (FIXTURES / f"ledger-schema-{version}.duckdb.zst").read_bytes()
    directory.ledger.write_bytes(zstandard.decompress(packed))

    ledger = Ledger.open(directory)

    with snapshot(directory, max_age_seconds=0) as reader:
        assert requests_by_state(reader) == {"succeeded": 5, "batched": 3, "pending": 2}
        assert int(reader.value("SELECT value FROM meta WHERE key = 'schema_version'")) == len(
            migrations()
        )
    assert ledger.installation()
    assert bool(list(directory.backups.iterdir())) == (version < len(migrations()))
