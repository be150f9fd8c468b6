import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.locks import exclusive_lock, exclusive_lock_if_free, shared_lock

HOLDER = """
import sys
from pathlib import Path
from storage.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def held_by_another_process(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def is_free(path: Path) -> bool:
    with exclusive_lock_if_free(path) as owned:
        return owned


def test_a_lock_of_another_process_is_seen_and_goes_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "flow.lock"
    with held_by_another_process(path) as holder:
        assert not is_free(path)
        holder.kill()
        holder.wait()
        assert is_free(path)
    assert path.exists()


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "flow.lock"
    for lock in (exclusive_lock, shared_lock, exclusive_lock_if_free):
        with pytest.raises(FileNotFoundError), lock(path):
            (tmp_path / "absent").read_bytes()
        assert is_free(path)


def test_readers_share_and_keep_a_writer_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.lock"
    with shared_lock(path), shared_lock(path):
        assert not is_free(path)
    with exclusive_lock(path):
        assert not is_free(path)


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.lock"
    entered = threading.Event()

    def wait_and_enter() -> None:
        with exclusive_lock(path):
            entered.set()

    with exclusive_lock(path):
        thread = threading.Thread(target=wait_and_enter)
        thread.start()
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()


def test_who_finds_a_lock_taken_does_not_take_it_away(tmp_path: Path) -> None:
    path = tmp_path / "flow.lock"
    with exclusive_lock_if_free(path) as first:
        assert first
        with exclusive_lock_if_free(path) as second:
            assert not second
        assert not is_free(path)
    assert is_free(path)
