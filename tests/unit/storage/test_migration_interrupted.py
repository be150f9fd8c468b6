"""A migration that a kill, a power cut or a full disk ends: it is done again, with everything."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from disk_recording import Kind, Recording
from factories import empty, fill
from power_cuts import Disk, Temper

from batching.errors import DiskFull
from storage.directory import DataDirectory
from storage.ledger import Ledger, migrations
from storage.reports.progress import requests_by_state

FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPECTED = {"succeeded": 5, "batched": 3, "pending": 2}
BEGUN = "begun"
MIGRATING = """
import os, sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.durable import write_durably
from storage.ledger import Ledger
directory = DataDirectory(Path(sys.argv[1]))
directory.create()
write_durably(directory.ledger, Path(sys.argv[2]).read_bytes())
write_durably(directory.root / "begun", b"")
Ledger.open(directory)
"""
CUTS = 16


def fixture(version: int) -> bytes:
    packed = (FIXTURES / f"ledger-schema-{version}.duckdb.zst").read_bytes()
    return zstandard.decompress(packed)


def assert_migrated(directory: DataDirectory) -> None:
    directory.create()
    with Ledger.open(directory).transaction() as reader:
        assert requests_by_state(reader) == EXPECTED
        version = reader.value("SELECT value FROM meta WHERE key = 'schema_version'")
    assert int(version) == len(migrations())


@pytest.mark.timeout(400)
def test_a_kill_or_a_power_cut_in_the_middle_of_a_migration_loses_nothing(
    tmp_path: Path, proven: Callable[..., None]
) -> None:
    data, old = tmp_path / "data", tmp_path / "old.duckdb"
    old.write_bytes(fixture(1))
    recording = Recording(tmp_path / "recording", [data])
    with recording.of_children():
        subprocess.run([sys.executable, "-c", MIGRATING, data, old], check=True)
    chance = random.Random(4)  # noqa: S311 - a seeded test
    events = recording.events()
    named = next(each.ended for each in events if each.target == str(data / BEGUN))
    begun = next(e.ended for e in events if e.ended > named and e.kind is Kind.SYNC_FOLDER)
    moments = [event.ended for event in events if event.ended > begun]
    chosen = set(chance.sample(moments, CUTS))
    disk, tempers = Disk(), list(Temper)
    for event in events:
        disk.tell(event)
        if event.ended in chosen:
            place = tmp_path / "cut"
            disk.write_to(data, place, tempers[event.ended % len(tempers)], chance)
            assert_migrated(DataDirectory(place))
            shutil.rmtree(place)
    copies = [e for e in events if e.kind is Kind.RENAME and "before-schema" in e.target]
    assert len(copies) == 1
    proven(faults=CUTS, lost=0)


@pytest.mark.parametrize("version", range(1, len(migrations())))
@pytest.mark.parametrize("free_bytes", [0, 600_000, 2_500_000])
def test_a_disk_that_is_full_during_a_migration_loses_nothing(
    version: int, free_bytes: int, small_disk: Path
) -> None:
    directory = DataDirectory(small_disk / "data")
    directory.create()
    directory.ledger.write_bytes(fixture(version))
    fill(small_disk, free_bytes=free_bytes)
    with pytest.raises(DiskFull):
        Ledger.open(directory)
    empty(small_disk)
    assert_migrated(directory)
