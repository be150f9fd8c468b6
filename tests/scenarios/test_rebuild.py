"""After the loss of the ledger, or its restore: every request ends once, no line is paid twice."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows

from batching.errors import ConfigurationError
from storage.backups import back_up_ledger
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger
from storage.rebuilding.new_ledger import Rebuilt, rebuild_ledger
from storage.segment_records import record_path
from storage.submission_lock import submission_lock
from tasks.resources import Resources, using
from tasks.sweeping import end_submission_lock

Chat = Callable[..., dict[str, Any]]
PIPELINE = Path(__file__).parent.parent / "plain_pipeline.py"


def directory_of(installation: Any) -> DataDirectory:
    return DataDirectory(installation.data)


def environment_of(installation: Any) -> dict[str, str]:
    settings = installation.settings
    return os.environ | {
        "OPENAI_API_KEY": settings.openai_api_key.get_secret_value(),
        "OPENAI_BASE_URL": settings.openai_base_url,
        "OBM_DATA_DIR": str(installation.data),
        "OBM_FILE_STABLE_SECONDS": "0",
        "OBM_POLL_MIN": "0.05",
        "OBM_POLL_MAX": "0.05",
        "OBM_BATCH_MAX_REQUESTS": "20",
    }


def killed_after(installation: Any, seconds: float) -> None:
    """Run the pipeline as a process and kill it in the middle."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PIPELINE)],
        env=environment_of(installation), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(seconds)
    process.kill()
    process.wait()


def one_pass(installation: Any, *flows: str, **changes: object) -> None:
    """Run these flows once, in a process that then ends."""
    settings = installation.settings.model_copy(update={"batch_max_requests": 20} | changes)
    resources = Resources(settings, close_at_once=True)
    with using(resources):
        for name in flows:
            plain_flows()[name]()
    resources.close()


def rebuilt(installation: Any, *, force: bool = False) -> Rebuilt:
    resources = Resources(installation.settings)
    return rebuild_ledger(
        directory_of(installation), force=force, account=installation.settings.account,
        cost_of=resources.cost_of, memory_bytes=1_000_000_000,
    )  # fmt: skip


def lose_ledger(installation: Any) -> None:
    for path in installation.data.glob("ledger.duckdb*"):
        path.unlink()


def is_locked(installation: Any) -> bool:
    with Ledger.open(directory_of(installation)).transaction() as reader:
        return submission_lock(reader) is not None


def assert_each_answered_once(installation: Any, job: str, wanted: list[str]) -> None:
    folder = installation.data / "outbox" / job
    lines = [
        result["custom_id"]
        for path in folder.glob("results*.jsonl")
        if path.name != "results.sorted.jsonl"
        for result in installation.results(job, path.name)
    ]
    assert Counter(lines) == Counter(wanted)
    ordered = installation.results(job, "results.sorted.jsonl")
    assert [result["custom_id"] for result in ordered] == wanted


def assert_healthy(installation: Any) -> None:
    report = examine(directory_of(installation), patience_seconds=0.0)
    assert report.findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_ledger_lost_in_the_middle_is_rebuilt_and_nothing_is_bought_twice(
    seed: int, installation: Any, chat: Chat
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    requests = [chat(f"lost-{seed}-{number}") for number in range(120)]
    wanted = [request["custom_id"] for request in requests]
    before = installation.simulator.counters()
    installation.drop("first.jsonl", requests[:60])
    installation.drop("second.jsonl", requests[60:], label="two")
    installation.simulator.set_scenarios("error_lines:every=30,status=500,attempts=1")
    killed_after(installation, chance.uniform(2.5, 5.0))
    lose_ledger(installation)

    rebuilt(installation)
    assert is_locked(installation)

    assert installation.run(batch_max_requests=20) == 0
    assert not is_locked(installation)
    after = installation.simulator.counters()
    assert installation.states == {"succeeded": 120}
    assert_each_answered_once(installation, "first", wanted[:60])
    assert_each_answered_once(installation, "two", wanted[60:])
    assert after["lines_paid"] - before["lines_paid"] == 120
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert_healthy(installation)


@pytest.mark.parametrize(
    "done", [("ingest",), ("ingest", "submit"), ("ingest", "submit", "track", "deliver")],
    ids="+".join,
)  # fmt: skip
def test_a_rebuilt_ledger_goes_on_from_every_stage(
    done: tuple[str, ...], installation: Any, chat: Chat
) -> None:
    wanted = [f"stage {number}" for number in range(45)]
    before = installation.simulator.counters()
    installation.drop("job.jsonl", [chat(custom_id) for custom_id in wanted])
    one_pass(installation, *done)
    lose_ledger(installation)

    found = rebuilt(installation).caught_up

    assert found.requests == 45
    assert installation.run(batch_max_requests=20) == 0
    after = installation.simulator.counters()
    assert installation.states == {"succeeded": 45}
    assert_each_answered_once(installation, "job", wanted)
    assert after["lines_paid"] - before["lines_paid"] == 45
    assert after["batches_created"] - before["batches_created"] == 3
    assert_healthy(installation)


def test_live_batches_are_adopted_and_results_that_were_delivered_stay_where_they_are(
    installation: Any, chat: Chat
) -> None:
    first = [f"first {number}" for number in range(20)]
    second = [f"second {number}" for number in range(20)]
    installation.drop("first.jsonl", [chat(custom_id) for custom_id in first])
    assert installation.run() == 0
    delivered = (installation.data / "outbox" / "first" / "results.jsonl").read_bytes()
    installation.simulator.set_scenarios("stuck:phase=in_progress")
    installation.drop("second.jsonl", [chat(custom_id) for custom_id in second])
    one_pass(installation, "ingest", "submit")
    created = installation.simulator.counters()["batches_created"]
    lose_ledger(installation)

    found = rebuilt(installation).caught_up
    resources = Resources(installation.settings)
    with using(resources):
        sweep = end_submission_lock.fn()
    resources.close()

    assert (found.requests, found.results, found.batches, found.delivered_parts) == (40, 20, 1, 1)
    assert sweep is not None
    assert (sweep.followed, sweep.problems) == (1, [])
    assert installation.states == {"succeeded": 20, "batched": 20}
    installation.simulator.release()
    assert installation.run() == 0
    assert (installation.data / "outbox" / "first" / "results.jsonl").read_bytes() == delivered
    assert_each_answered_once(installation, "second", second)
    assert installation.simulator.counters()["batches_created"] == created
    assert_healthy(installation)


@pytest.mark.parametrize(
    "saved_after", [("ingest",), ("ingest", "submit"), ("ingest", "submit", "track")],
    ids="+".join,
)  # fmt: skip
def test_an_hourly_copy_put_back_buys_nothing_again(
    saved_after: tuple[str, ...], installation: Any, chat: Chat
) -> None:
    wanted = [f"copy {number}" for number in range(45)]
    before = installation.simulator.counters()
    installation.simulator.set_scenarios("error_lines:every=9,status=500,attempts=1")
    installation.drop("job.jsonl", [chat(custom_id) for custom_id in wanted])
    one_pass(installation, *saved_after)
    copy = back_up_ledger(directory_of(installation), keep=3)
    installation.drop("later.jsonl", [chat("later")])
    assert installation.run(batch_max_requests=20) == 0
    lose_ledger(installation)
    shutil.copyfile(copy, directory_of(installation).ledger)

    assert is_locked(installation)
    assert installation.run(batch_max_requests=20) == 0

    after = installation.simulator.counters()
    assert not is_locked(installation)
    assert installation.states == {"succeeded": 46}
    assert_each_answered_once(installation, "job", wanted)
    assert_each_answered_once(installation, "later", ["later"])
    assert after["lines_paid"] - before["lines_paid"] == 46
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert_healthy(installation)


def test_batches_whose_folders_are_lost_too_are_known_by_their_wire_ids(
    installation: Any, chat: Chat
) -> None:
    wanted = [f"lost {number}" for number in range(20)]
    installation.drop("job.jsonl", [chat(custom_id) for custom_id in wanted])
    one_pass(installation, "ingest")
    copy = back_up_ledger(directory_of(installation), keep=3)
    installation.simulator.set_scenarios("stuck:phase=in_progress")
    one_pass(installation, "submit")
    created = installation.simulator.counters()["batches_created"]
    shutil.rmtree(installation.data / "batches" / "000001")
    lose_ledger(installation)
    shutil.copyfile(copy, directory_of(installation).ledger)

    resources = Resources(installation.settings)
    with using(resources):
        sweep = end_submission_lock.fn()
    resources.close()

    assert sweep is not None
    assert (sweep.adopted, sweep.problems) == (1, [])
    installation.simulator.release()
    assert installation.run() == 0
    assert_each_answered_once(installation, "job", wanted)
    assert installation.simulator.counters()["batches_created"] == created
    assert_healthy(installation)


def test_segments_of_an_earlier_version_are_taken_in_without_their_records(
    installation: Any, chat: Chat
) -> None:
    wanted = [f"old {number}" for number in range(20)]
    installation.drop("job.jsonl", [chat(custom_id) for custom_id in wanted])
    one_pass(installation, "ingest", "submit")
    record_path(directory_of(installation).segments, 1).unlink()
    lose_ledger(installation)

    rebuilt(installation)

    assert installation.run() == 0
    assert_each_answered_once(installation, "job", wanted)


def test_nothing_is_sent_while_the_account_cannot_be_looked_through(
    installation: Any, chat: Chat
) -> None:
    installation.drop("job.jsonl", [chat("waits")])
    one_pass(installation, "ingest")
    lose_ledger(installation)
    rebuilt(installation)
    before = installation.simulator.counters()["batches_created"]
    installation.simulator.set_scenarios("failing_calls:call=batches.list,status=503")

    one_pass(installation, "submit")

    assert is_locked(installation)
    assert installation.simulator.counters()["batches_created"] == before
    with Ledger.open(directory_of(installation)).transaction() as reader:
        reason, detail = reader.rows("SELECT wait_reason, wait_detail FROM lanes")[0].values()
    assert reason == "account"
    assert "until a sweep of the account has adopted our batches" in detail


def test_a_ledger_that_is_there_is_only_replaced_by_force_and_then_kept(
    installation: Any, chat: Chat
) -> None:
    installation.drop("job.jsonl", [chat("one")])
    one_pass(installation, "ingest")
    earlier = directory_of(installation).ledger.stat().st_ino
    with pytest.raises(ConfigurationError, match="--force"):
        rebuilt(installation)
    kept = rebuilt(installation, force=True).put_aside
    assert kept is not None
    assert kept.stat().st_ino == earlier
    assert installation.states == {"pending": 1}


def test_no_ledger_is_rebuilt_under_a_running_pipeline(installation: Any) -> None:
    directory_of(installation).create()
    from storage.locks import exclusive_lock  # noqa: PLC0415 - this test alone needs it

    with (
        exclusive_lock(directory_of(installation).locks / "track.lock"),
        pytest.raises(ConfigurationError, match="stop it first"),
    ):
        rebuilt(installation)


def test_a_directory_that_was_copied_elsewhere_is_swept_before_it_sends(
    installation: Any, chat: Chat, tmp_path: Path
) -> None:
    installation.drop("job.jsonl", [chat("one")])
    one_pass(installation, "ingest")
    shutil.copytree(installation.data, tmp_path / "copy")
    ledger = Ledger.open(DataDirectory(tmp_path / "copy"))
    with ledger.transaction() as reader:
        lock = submission_lock(reader)
    assert lock is not None
    assert "copied here, or restored" in lock.reason
    assert not is_locked(installation)
