"""The doctor finds nothing wrong with whatever the pipeline has done, at any moment of it."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from web_receiver import WebReceiver, answers

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.doctor.findings import Report
from storage.doctor.repairs import treat
from storage.jobs import cancel_job, retry_job
from storage.ledger import Ledger, now
from storage.redelivery import Selection, redeliver
from storage.retention import forget_batch_files, forget_outbox, forget_requests

Chat = Callable[..., dict[str, Any]]


def diagnosed(installation: Any, *, patience_seconds: float = 0.0) -> Report:
    return examine(DataDirectory(installation.data), patience_seconds=patience_seconds)


def ledger_of(installation: Any) -> Ledger:
    return Ledger.open(DataDirectory(installation.data))


@pytest.mark.parametrize(
    "scenarios",
    [
        ("ok",),
        ("error_lines:every=4,status=400",),
        ("error_lines:first=5,status=500",),
        ("expires:at=0.5",),
        ("expires:at=0.5", "unlisted_rest"),
        ("cancelled_outside:at=0.5",),
        ("token_limit:times=3",),
        ("all_fail:status=400",),
    ],
    ids="+".join,
)
def test_whatever_a_provider_does_leaves_nothing_wrong(
    installation: Any, chat: Chat, scenarios: tuple[str, ...]
) -> None:
    installation.simulator.set_scenarios(*scenarios, next_batches=3)
    installation.drop("one.jsonl", [chat(f"one {number}") for number in range(20)])
    installation.drop("two.jsonl", [chat("same"), chat("same"), chat("other", model="gpt-4o")])

    assert installation.run() in {0, 3}

    report = diagnosed(installation)
    assert report.findings == ()
    assert report.counted["requests"] == 22


def test_cancelled_and_retried_jobs_leave_nothing_wrong(installation: Any, chat: Chat) -> None:
    installation.simulator.set_scenarios("error_lines:every=4,status=400", next_batches=1)
    installation.drop("job.jsonl", [chat(f"again {number}") for number in range(20)])
    assert installation.run() == 3
    assert retry_job(ledger_of(installation), "job", cancelled_too=False, actor="test") == 5
    assert diagnosed(installation).findings == ()
    assert installation.run() == 0
    installation.simulator.set_scenarios("stuck:phase=in_progress")
    installation.drop("stuck.jsonl", [chat(f"cancel {number}") for number in range(20)])
    assert installation.run(timeout_seconds=2) == 4
    assert diagnosed(installation).findings == ()
    cancel_job(ledger_of(installation), "stuck", actor="test")
    assert diagnosed(installation).findings == ()
    installation.simulator.release()
    assert installation.run() in {0, 3}

    assert diagnosed(installation).findings == ()


def test_pushed_results_dead_letters_and_redeliveries_leave_nothing_wrong(
    installation: Any, chat: Chat
) -> None:
    with WebReceiver() as receiver:
        receiver.set_behaviour("/gone", answers(410))
        for name in ("fine", "gone"):
            config = {"type": "webhook", "webhook_url": receiver.url(f"/{name}")}
            requests = [chat(f"{name} {number}") for number in range(5)] + [
                chat("to a file") | {"delivery_config": {"type": "file"}}
            ]
            installation.drop(f"{name}.jsonl", requests, delivery_config=config)
        assert installation.run(webhook_allow_private="true") in {0, 3, 4}
        assert diagnosed(installation).findings == ()
        redeliver(ledger_of(installation), Selection(job="fine"), failed_only=False, actor="test")
        assert diagnosed(installation).findings == ()
        assert installation.run(webhook_allow_private="true") in {0, 3, 4}

    report = diagnosed(installation)
    assert report.findings == ()
    assert report.counted["deliveries"] == 10
    assert report.counted["parts"] == 2


def test_what_retention_forgets_and_users_take_away_is_not_missed(
    installation: Any, chat: Chat
) -> None:
    for label in ("old", "mixed"):
        installation.drop(
            f"{label}.jsonl", [chat(f"{label} {number}") for number in range(10)], label=label
        )
        assert installation.run() == 0
    ledger = ledger_of(installation)
    with ledger.transaction() as transaction:
        long_ago = now() - timedelta(days=40)
        for table, column in (
            ("segments", "created_at"), ("results", "recorded_at"), ("batches", "finished_at"),
            ("jobs", "completed_at"),
        ):  # fmt: skip
            transaction.execute(f"UPDATE {table} SET {column} = ?", long_ago)
    assert forget_requests(ledger, keep_days=30) == 20
    forget_batch_files(ledger, keep_days=30)
    (installation.data / "outbox" / "old" / "results.jsonl").unlink()
    installation.drop("later.jsonl", [chat("later")], label="mixed")
    assert installation.run() == 0

    report = diagnosed(installation)

    assert report.findings == ()
    assert report.notes == (
        "1 file of the outbox was taken away by somebody, or forgotten by retention",
    )
    assert forget_outbox(DataDirectory(installation.data), keep_days=1e-9) > 0
    assert diagnosed(installation).findings == ()


@pytest.mark.slow
def test_a_system_at_work_gives_no_false_alarm(installation: Any, chat: Chat) -> None:
    reports: list[Report] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            if (installation.data / "ledger.duckdb").exists():
                reports.append(diagnosed(installation, patience_seconds=30))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        installation.simulator.set_scenarios("error_lines:every=7,status=500,attempts=1")
        for number in range(3):
            installation.drop(
                f"job-{number}.jsonl", [chat(f"{number} {line}") for line in range(200)]
            )
            assert installation.run() == 0
    finally:
        over.set()
        looking.join()

    assert len(reports) > 1
    assert [finding for report in reports for finding in report.findings] == []


@pytest.mark.slow
def test_no_moment_of_a_crash_looks_like_a_fault(installation: Any, chat: Chat) -> None:
    chance = random.Random(5)  # noqa: S311 - a seeded test
    installation.simulator.set_scenarios("error_lines:every=50,status=500,attempts=1")
    for name in ("first", "second"):
        installation.drop(f"{name}.jsonl", [chat(f"{name} {number}") for number in range(1_500)])
    directory = DataDirectory(installation.data)
    environment = os.environ | {
        "OPENAI_API_KEY": installation.settings.openai_api_key.get_secret_value(),
        "OPENAI_BASE_URL": installation.settings.openai_base_url,
        "OBM_DATA_DIR": str(installation.data), "OBM_FILE_STABLE_SECONDS": "0",
        "OBM_POLL_MIN": "0.05", "OBM_POLL_MAX": "0.05", "OBM_SUBMIT_PROOF_SECONDS": "2",
        "OBM_BATCH_MAX_REQUESTS": "100", "OBM_CAPACITY_BACKOFF": "0.2",
    }  # fmt: skip
    program = Path(__file__).parent.parent / "plain_pipeline.py"
    looks = 0

    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(program)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(timeout=chance.uniform(1.0, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if directory.ledger.exists():
            looks += 1
            found = diagnosed(installation).findings
            assert {each.code for each in found} <= {"orphan_temporary"}

    assert looks > 3
    assert installation.run() == 0
    assert installation.states == {"succeeded": 3_000}
    assert {each.code for each in diagnosed(installation).findings} <= {"orphan_temporary"}
    assert treat(ledger_of(installation), patience_seconds=0).report.findings == ()
