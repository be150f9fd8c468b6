import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factories import chat_line, empty, fill

from batching.errors import DiskFull
from storage.directory import DataDirectory
from storage.inbox import waiting_files
from storage.intake_log import (
    IntakeLog,
    has_abandoned_logs,
    lines_waiting,
    seal_abandoned_logs,
)
from storage.log_files import log_file, logs_in
from storage.received_lines import (
    on_one_line,
    read_received_line,
    received_line,
    whole_lines,
)
from storage.staging import claimable_files, holds_unclaimed_files

AT = datetime(2026, 11, 1, 12, 0, 0, 654321, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path / "data")
    found.create()
    return found


def open_log(directory: DataDirectory, *, role: str = "web", seconds: float = 60.0) -> IntakeLog:
    return IntakeLog(directory, role=role, seal_seconds=seconds, seal_bytes=1_000)


def line(text: str) -> bytes:
    return received_line("default", AT, text.encode())


def waiting(directory: DataDirectory) -> list[str]:
    return [received.line.decode() for received in lines_waiting(directory)]


def test_a_line_is_read_back_as_it_was_received() -> None:
    text = chat_line("ä\u2028", text="tab\there")
    received = read_received_line(received_line('say "hi"\u2028', AT, text).removesuffix(b"\n"))

    assert received is not None
    assert (received.job, received.received_at, received.line) == ('say "hi"\u2028', AT, text)


def test_newlines_between_the_parts_of_a_request_become_spaces() -> None:
    assert on_one_line(b'{\n"a":\n1}') == b'{ "a": 1}'
    assert received_line("default", AT, b'{\n"a":1}').count(b"\n") == 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"0123456789abcdef\t1"])
def test_a_damaged_line_is_recognised(damage: bytes) -> None:
    whole = line('{"a":1}').removesuffix(b"\n")

    assert read_received_line(damage) is None
    assert read_received_line(whole[:-1]) is None
    assert read_received_line(whole[:20] + damage + whole[21:]) is None


def test_lines_are_found_whatever_the_blocks_are() -> None:
    text = b"one\ntwo\nthree\ntorn"
    for size in range(1, len(text) + 1):
        blocks = [text[first : first + size] for first in range(0, len(text), size)]
        found = [found for lines in whole_lines(blocks) for found in lines]
        assert found == [b"one", b"two", b"three"]


def test_what_is_written_can_be_read_before_it_is_handed_over(directory: DataDirectory) -> None:
    log = open_log(directory)
    log.write([line("a"), line("b")])
    log.write([line("c")])

    assert waiting(directory) == ["a", "b", "c"]
    assert list(lines_waiting(directory, sealed_only=True)) == []
    log.close()


def test_a_sealed_log_lies_in_the_inbox_and_the_next_line_begins_another(
    directory: DataDirectory,
) -> None:
    log = open_log(directory)
    log.write([line("a")])
    first = log.seal()
    log.write([line("b")])
    second = log.seal()

    assert first is not None
    assert first.parent == directory.inbox
    assert [found.path for found in logs_in(directory.inbox)] == [first, second]
    assert list(directory.receiving.iterdir()) == []
    assert waiting(directory) == ["a", "b"]


def test_nothing_written_is_nothing_to_hand_over(directory: DataDirectory) -> None:
    log = open_log(directory)
    log.write([])

    assert log.seal() is None
    assert log.seal(urgent=True) is None
    log.close()
    assert [*directory.receiving.iterdir(), *directory.inbox.iterdir()] == []


def test_a_log_is_handed_over_when_it_is_old_or_large(directory: DataDirectory) -> None:
    young, old = open_log(directory), open_log(directory, seconds=0.0)
    assert not old.seal_if_due()
    for log in (young, old):
        log.write([line("a")])
    assert old.seal_if_due()
    assert not young.seal_if_due()
    young.write([line("b" * 1_000)])
    assert young.seal_if_due()


def test_closing_hands_over(directory: DataDirectory) -> None:
    log = open_log(directory)
    log.write([line("a")])
    log.close()

    assert len(logs_in(directory.inbox)) == 1


def test_an_urgent_log_says_so_and_hurries_what_was_handed_over_before(
    directory: DataDirectory,
) -> None:
    log = open_log(directory)
    log.write([line("a")])
    log.seal()
    assert log.seal(urgent=True) is None
    assert [found.is_urgent for found in logs_in(directory.inbox)] == [True]

    log.write([line("b")])
    log.seal(urgent=True)
    assert [found.is_urgent for found in logs_in(directory.inbox)] == [True, True]
    assert waiting(directory) == ["a", "b"]


def test_logs_are_no_files_of_users(directory: DataDirectory) -> None:
    log = open_log(directory)
    log.write([line("a")])
    log.close()

    assert claimable_files(directory, stable_seconds=0.0, closing_now=True) == []
    assert not holds_unclaimed_files(directory)
    assert waiting_files(directory) == []


def test_a_log_is_named_by_role_and_age(directory: DataDirectory) -> None:
    for role in ("web", "consumer"):
        log = open_log(directory, role=role)
        log.write([line(role)])
        log.close()
        time.sleep(0.002)

    assert [log.role for log in logs_in(directory.inbox)] == ["web", "consumer"]
    assert log_file(Path("notes.obmlog")) is None
    with pytest.raises(ValueError, match="cannot be called"):
        open_log(directory, role="Web/1")


def test_two_receivers_write_at_once_and_sweep_without_taking_from_each_other(
    directory: DataDirectory,
) -> None:
    done = threading.Event()

    def receive(role: str) -> None:
        log = open_log(directory, role=role, seconds=0.0)
        for number in range(200):
            log.write([line(f"{role}-{number}")])
            log.seal_if_due()
        log.close()

    def sweep() -> None:
        while not done.is_set():
            seal_abandoned_logs(directory)

    sweeper = threading.Thread(target=sweep)
    receivers = [threading.Thread(target=receive, args=(role,)) for role in ("web", "consumer")]
    for thread in (sweeper, *receivers):
        thread.start()
    for thread in receivers:
        thread.join()
    done.set()
    sweeper.join()

    expected = {f"{role}-{number}" for role in ("web", "consumer") for number in range(200)}
    assert sorted(waiting(directory)) == sorted(expected)
    assert list(directory.receiving.iterdir()) == []


def test_two_threads_cannot_use_one_log_at_once(directory: DataDirectory) -> None:
    log = open_log(directory)
    with log._in_use, pytest.raises(RuntimeError, match="one thread"):
        log.write([line("a")])


def test_on_a_full_disk_nothing_of_the_group_stays_and_it_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    directory = DataDirectory(small_disk / "data")
    directory.create()
    log = open_log(directory)
    log.write([line("first")])
    fill(small_disk, free_bytes=50_000)

    with pytest.raises(DiskFull, match="free some space"):
        log.write([line("x" * 40_000), line("y" * 40_000)])
    assert waiting(directory) == ["first"]
    log.write([line("fits")])
    empty(small_disk)
    log.write([line("z" * 40_000)])
    sealed = log.seal()

    assert [text[:5] for text in waiting(directory)] == ["first", "fits", "zzzzz"]
    assert sealed is not None
    assert b"xx" not in sealed.read_bytes()


def test_on_a_disk_that_is_full_from_the_start_nothing_is_left_behind(small_disk: Path) -> None:
    directory = DataDirectory(small_disk / "data")
    directory.create()
    fill(small_disk, free_bytes=0)
    log = open_log(directory)

    with pytest.raises(DiskFull):
        log.write([line("x" * 100_000)])
    log.close()
    seal_abandoned_logs(directory)
    assert [*directory.receiving.iterdir(), *directory.inbox.iterdir()] == []


def test_short_writes_are_gone_on_with(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:7])))
    log = open_log(directory)
    log.write([line("a" * 100), line("b" * 100)])

    assert waiting(directory) == ["a" * 100, "b" * 100]
    log.close()


def test_a_log_that_cannot_be_cut_back_ends_at_its_last_durable_line(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(directory)
    log.write([line("acknowledged")])

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as sick:
        sick.setattr(os, "fdatasync", refuse)
        sick.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output"):
            log.write([line("refused")])
    log.write([line("later")])
    log.close()

    assert waiting(directory) == ["acknowledged", "later"]
    assert [found.end_offset is None for found in logs_in(directory.inbox)] == [False, True]


def test_a_folder_that_has_gone_is_told(directory: DataDirectory) -> None:
    log = open_log(directory)
    directory.receiving.rmdir()

    with pytest.raises(OSError, match="the folder is not there"):
        log.write([line("a")])


def test_a_log_that_somebody_deleted_is_not_acknowledged(directory: DataDirectory) -> None:
    log = open_log(directory)
    log.write([line("a")])
    next(directory.receiving.iterdir()).unlink()

    with pytest.raises(OSError, match=r"not there|deleted"):
        log.write([line("b")])
    log.write([line("c")])
    assert waiting(directory) == ["c"]
    log.close()


def test_a_disk_that_became_read_only_is_told(small_disk: Path) -> None:
    directory = DataDirectory(small_disk / "data")
    directory.create()
    log = open_log(directory)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(OSError, match="read-only"):
            log.write([line("a")])
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_an_empty_log_of_a_dead_owner_is_removed(directory: DataDirectory) -> None:
    (directory.receiving / "web-20261101T120000000000-0123abcd.obmlog").touch()

    assert has_abandoned_logs(directory)
    assert seal_abandoned_logs(directory) == 0
    assert not has_abandoned_logs(directory)
    assert list(directory.receiving.iterdir()) == []


def test_a_torn_line_as_long_as_the_log_is_cut_off(directory: DataDirectory) -> None:
    path = directory.receiving / "web-20261101T120000000000-0123abcd.obmlog"
    path.write_bytes(line("a") + b"x" * 3_000_000)

    assert seal_abandoned_logs(directory) == 1
    assert (directory.inbox / path.name).read_bytes() == line("a")


_RECEIVER = """
import sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.intake_log import IntakeLog
from storage.received_lines import received_line

log = IntakeLog(DataDirectory(Path(sys.argv[1])), role="web", seal_seconds=0.05, seal_bytes=10**9)
number = 0
while True:
    log.write([received_line("default", 1, f"{number}-{part}".encode()) for part in range(3)])
    print(number, flush=True)
    log.seal_if_due()
    number += 1
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 400])
def test_a_killed_receiver_loses_nothing_that_it_acknowledged(
    directory: DataDirectory, acknowledged: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _RECEIVER, str(directory.root)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    numbers = [int(process.stdout.readline()) for _ in range(acknowledged)]
    assert not seal_abandoned_logs(directory)  # its owner lives
    process.send_signal(signal.SIGKILL)
    numbers += [int(text) for text in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()

    seal_abandoned_logs(directory)

    assert list(directory.receiving.iterdir()) == []
    found = waiting(directory)
    assert found[: 3 * len(numbers)] == [
        f"{number}-{part}" for number in numbers for part in range(3)
    ]
    assert len(found) <= 3 * len(numbers) + 3


def test_a_log_that_moves_on_while_others_are_read_is_not_missed(
    directory: DataDirectory,
) -> None:
    first, second = open_log(directory), open_log(directory, role="consumer")
    first.write([line("a")])
    second.write([line("b")])
    reading = lines_waiting(directory)
    found = [next(reading).line]
    second.seal()
    first.close()
    found += [received.line for received in reading]

    assert found == [b"a", b"b"]
    second.close()
