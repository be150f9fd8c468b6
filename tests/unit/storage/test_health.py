"""The health files of the roles."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.health import HealthFile, read_health


def test_a_role_that_never_spoke_has_no_health(tmp_path: Path) -> None:
    assert read_health(tmp_path, "pipeline") is None


def test_a_new_state_is_written_at_once_with_its_beginning(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    HealthFile(tmp_path, "pipeline").report("running", "fine")
    health = read_health(tmp_path, "pipeline")
    assert health is not None
    assert (health.role, health.state, health.message) == ("pipeline", "running", "fine")
    assert health.pid == os.getpid()
    assert before <= health.since <= health.written_at


def test_the_beginning_stays_while_the_state_stays(tmp_path: Path) -> None:
    file = HealthFile(tmp_path, "pipeline")
    file.report("waiting", "one reason")
    first = read_health(tmp_path, "pipeline")
    file.report("waiting", "another reason")
    second = read_health(tmp_path, "pipeline")
    assert first is not None
    assert second is not None
    assert (first.since, "another reason") == (second.since, second.message)


def test_an_unchanged_state_is_written_every_ten_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("storage.health.time.monotonic", lambda: now[0])
    file = HealthFile(tmp_path, "pipeline")
    file.report("running")
    path = tmp_path / "pipeline.json"
    path.unlink()
    now[0] += 9
    file.report("running")
    assert not path.exists()
    now[0] += 1
    file.report("running")
    assert path.exists()


def test_last_answers_go_out_with_the_next_writing(tmp_path: Path) -> None:
    file = HealthFile(tmp_path, "pipeline")
    file.answered("openai")
    file.report("running")
    health = read_health(tmp_path, "pipeline")
    assert health is not None
    assert set(health.last_answers) == {"openai"}


def test_health_that_was_not_renewed_is_not_believed(tmp_path: Path) -> None:
    HealthFile(tmp_path, "pipeline").report("running")
    health = read_health(tmp_path, "pipeline")
    assert health is not None
    assert health.is_fresh(health.written_at + timedelta(seconds=29))
    assert not health.is_fresh(health.written_at + timedelta(seconds=31))


def test_a_damaged_file_counts_as_never_spoken(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_bytes(b'{"role":')
    assert read_health(tmp_path, "pipeline") is None
