"""The ledger after a power cut at any moment: it opens, and what was committed is in it."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from disk_recording import Kind, Recording
from power_cuts import Disk, Temper

from storage.directory import DataDirectory
from storage.ledger import Ledger

TEMPERS = (Temper.FORGETS, Temper.JOURNALS, Temper.SCATTERS)
COMMITS = 8
WRITER = """
import os, sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.ledger import Ledger
directory = DataDirectory(Path(sys.argv[1]))
directory.create()
ledger = Ledger.open(directory)
told = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
for number in range(8):
    with ledger.transaction() as transaction:
        transaction.execute("INSERT INTO meta VALUES ('written', ?)", str(number))
        if number == 5:
            transaction.execute("CREATE TABLE large AS SELECT uuid() AS u FROM range(2000)")
    os.write(told, b".")  # from now on it must not be lost
    if number == 3:
        ledger.compact()
"""


@dataclass(frozen=True)
class Written:
    """A recording of a writer, and where it told what was committed."""

    recording: Recording
    data: Path
    told: Path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("ledger")
    data, told = folder / "data", folder / "told"
    recording = Recording(folder / "recording", [data, told])
    with recording.of_children():
        subprocess.run([sys.executable, "-c", WRITER, data, told], check=True)
    return Written(recording, data, told)


def cut_the_power(written: Written, place: Path, *, seed: int, most: int) -> int:
    """Look at the ledger as it is found after power cuts; return how many those were."""
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    events = written.recording.events()
    share = most / len(events) / len(TEMPERS)
    disk, committed, cuts = Disk(), 0, 0
    for event in events:
        name = disk.tell(event)
        committed += event.kind is Kind.WRITE and name == str(written.told)
        for temper in TEMPERS:
            if "ledger" in name and chance.random() < share:
                disk.write_to(written.data, place, temper, chance)
                assert rows_in(place) >= committed, (event, temper)
                shutil.rmtree(place)
                cuts += 1
    assert committed == COMMITS
    return cuts


def rows_in(place: Path) -> int:
    ledger = Ledger(DataDirectory(place))
    if not ledger.directory.ledger.exists():
        return 0
    with ledger.transaction() as reader:
        return int(reader.value("SELECT count(*) FROM meta WHERE key = 'written'"))


@pytest.mark.timeout(400)
def test_a_ledger_opens_after_a_power_cut_with_all_that_was_committed(
    written: Written, tmp_path: Path, proven: Callable[..., None]
) -> None:
    proven(faults=cut_the_power(written, tmp_path / "cut", seed=1, most=90), lost=0)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2, 3])
def test_a_ledger_opens_after_a_power_cut_at_every_moment(
    seed: int, written: Written, tmp_path: Path, proven: Callable[..., None]
) -> None:
    proven(faults=cut_the_power(written, tmp_path / "cut", seed=seed, most=10_000), lost=0)
