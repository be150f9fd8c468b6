"""A kill between a side file and its file leaves nothing that could meet another file."""

from pathlib import Path

import pytest

from storage.directory import DataDirectory
from storage.inbox import hand_over


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path)
    made.create()
    return made


def brought(directory: DataDirectory, **settings: str) -> str:
    unfinished = directory.receiving / "upload.tmp"
    unfinished.write_bytes(b"{}\n")
    return hand_over(directory, unfinished, "job.jsonl", side_settings=settings).name


def names(directory: DataDirectory) -> list[str]:
    return sorted(path.name for path in directory.inbox.iterdir())


def test_the_repeat_takes_the_side_file_over_that_a_kill_has_left(
    directory: DataDirectory,
) -> None:
    brought(directory, label="team")
    (directory.inbox / "job.jsonl").unlink()  # as if it had not come there yet

    assert brought(directory, label="team") == "job.jsonl"

    assert names(directory) == ["job.job.json", "job.jsonl"]


@pytest.mark.parametrize("settings", [{}, {"label": "other"}])
def test_the_side_file_of_somebody_else_is_left_to_him(
    settings: dict[str, str], directory: DataDirectory
) -> None:
    (directory.inbox / "job.job.json").write_text('{"label": "team"}')

    assert brought(directory, **settings) == "job-2.jsonl"
    assert (directory.inbox / "job.job.json").read_text() == '{"label": "team"}'


def test_an_empty_side_file_of_somebody_is_not_taken_over(directory: DataDirectory) -> None:
    (directory.inbox / "job.job.json").touch()

    assert brought(directory) == "job-2.jsonl"


def test_two_files_of_one_name_lie_beside_each_other(directory: DataDirectory) -> None:
    assert brought(directory, label="team") == "job.jsonl"
    assert brought(directory, label="team") == "job-2.jsonl"

    assert names(directory) == ["job-2.job.json", "job-2.jsonl", "job.job.json", "job.jsonl"]
