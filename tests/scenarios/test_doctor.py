"""The doctor finds nothing wrong with whatever the pipeline has done, at any moment of it."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from web_receiver import WebReceiver, answers

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.doctor.findings import Report
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
        for number in range(6):
            installation.drop(
                f"job-{number}.jsonl", [chat(f"{number} {line}") for line in range(300)]
            )
            assert installation.run() == 0
    finally:
        over.set()
        looking.join()

    assert len(reports) > 1
    assert [finding for report in reports for finding in report.findings] == []
