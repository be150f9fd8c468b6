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
