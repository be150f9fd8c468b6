"""However spoilt lines are, each ends once: accepted as it is, or refused with its reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzed_files import FORMATS, check_taken, fuzzed_file
from fuzzed_intake import IntakeProcess

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger

MEMORY_GROWTH_MB = 100
"""More than a ledger's cache takes; a line that is kept would show as much more."""


def take_in_files(root: Path, *, files: int, lines: int, proven: Callable[..., None]) -> int:
    """Take in files of all formats; return how many spoilt lines were among them."""
    directory = DataDirectory(root)
    directory.create()
    ledger = Ledger.open(directory)
    spoilt = accepted = 0
    with IntakeProcess(root) as intake:
        for seed in range(files):
            file = fuzzed_file(seed, lines, FORMATS[seed % len(FORMATS)])
            file.drop(directory)
            intake.take_in()
            taken = check_taken(directory, ledger, file)
            spoilt += file.spoilt
            accepted += taken.accepted
            assert list(directory.inbox.iterdir()) == []
    assert examine(directory, patience_seconds=0).findings == ()
    with ledger.transaction() as reader:
        assert reader.value("SELECT count(*) FROM requests") == accepted
    warm = max(intake.resident_mb[: len(FORMATS)])
    growth = max(intake.resident_mb) - warm
    assert growth < MEMORY_GROWTH_MB, intake.resident_mb
    proven(faults=spoilt, requests=accepted, lost=0, double_paid=0)
    return spoilt


def test_spoilt_lines_end_once_and_good_ones_between_them_are_accepted(
    tmp_path: Path, proven: Callable[..., None]
) -> None:
    take_in_files(tmp_path / "data", files=6, lines=5_000, proven=proven)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_million_spoilt_lines_end_once_in_flat_memory(
    tmp_path: Path, proven: Callable[..., None]
) -> None:
    spoilt = take_in_files(tmp_path / "data", files=25, lines=51_000, proven=proven)

    assert spoilt > 1_000_000
