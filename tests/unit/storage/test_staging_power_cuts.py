"""A dropped file that has left the inbox is there after a power cut, in one place or the other."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

from disk_recording import Kind, Recording
from power_cuts import Disk, Temper

SENDER_AND_CLAIM = """
import sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.staging import claim
directory = DataDirectory(Path(sys.argv[1]))
directory.create()
dropped = directory.inbox / "dropped.jsonl"
dropped.write_bytes(b"{}\\n")  # as people do it: nothing is synced
assert claim(directory, dropped)
"""


def test_a_claimed_file_outlives_a_power_cut_at_each_moment_since_it_left_the_inbox(
    tmp_path: Path,
) -> None:
    data, place = tmp_path / "data", tmp_path / "after"
    recording = Recording(tmp_path / "recording", [data])
    with recording.of_children():
        subprocess.run([sys.executable, "-c", SENDER_AND_CLAIM, data], check=True)
    disk, has_left, looks = Disk(), False, 0
    for event in recording.events():
        disk.tell(event)
        has_left |= event.kind is Kind.RENAME and event.path.endswith("inbox/dropped.jsonl")
        if has_left:
            disk.write_to(data, place, Temper.FORGETS, random.Random(0))  # noqa: S311 - not used
            (found,) = place.rglob("*dropped.jsonl")
            assert found.read_bytes() == b"{}\n", event
            shutil.rmtree(place)
            looks += 1
    assert looks
