import errno
from pathlib import Path

import pytest

from batching.errors import ConfigurationError, DiskFull
from storage import durable
from storage.directory import DataDirectory
from storage.durable import (
    disk_errors,
    move,
    remove_leftovers,
    temporary_path,
    write_durably,
    written_durably,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_appears_with_its_whole_content(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"one")
    write_durably(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names_in(tmp_path) == ["a"]


def fail_half_way(path: Path) -> None:
    with written_durably(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"one")
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_passing_trouble_that_names_the_file(number: int) -> None:
    with pytest.raises(DiskFull, match="segments/1"), disk_errors(Path("segments/1")):
        raise OSError(number, "full")


def test_other_disk_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), disk_errors(Path("a")):
        raise PermissionError(errno.EACCES, "no")


def test_a_really_full_device_is_reported_as_such() -> None:
    full = Path("/dev/full")
    with pytest.raises(DiskFull), disk_errors(full), full.open("wb", buffering=0) as file:
        file.write(b"x")


def test_leftovers_of_a_crash_are_found_and_removed(tmp_path: Path) -> None:
    temporary_path(tmp_path / "a").write_bytes(b"half")
    (tmp_path / "b").write_bytes(b"whole")
    assert remove_leftovers(tmp_path) == 1
    assert names_in(tmp_path) == ["b"]


def test_a_move_goes_between_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"x")
    move(tmp_path / "in" / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
    assert names_in(tmp_path / "in") == []


def test_a_data_directory_is_created_with_all_its_folders(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.create()
    assert all(folder.is_dir() for folder in directory.folders)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_data_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigurationError, match="OBM_DATA_DIR"):
        DataDirectory(tmp_path / "data").create()


def test_each_new_folder_is_synced_into_its_parent_and_those_that_are_there_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    root = tmp_path / "deep" / "data"
    DataDirectory(root).create()
    made = [each for each in tmp_path.rglob("*") if each.is_dir()]
    assert sorted(synced) == sorted(each.parent for each in made)
    assert (root / "staging" / "inbox").is_dir()
    synced.clear()
    DataDirectory(root).create()
    assert synced == []
