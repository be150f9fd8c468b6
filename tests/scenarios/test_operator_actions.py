"""What operators do to jobs, carried out against the provider."""

from collections.abc import Callable
from typing import Any

from storage.directory import DataDirectory
from storage.jobs import cancel_job, retry_job, set_job_paused
from storage.ledger import Ledger

Chat = Callable[..., dict[str, Any]]


def ledger_of(installation: Any) -> Ledger:
    return Ledger.open(DataDirectory(installation.data))


def test_a_paused_job_waits_and_goes_on_when_it_is_resumed(installation: Any, chat: Chat) -> None:
    installation.drop("first.jsonl", [chat("first")], label="team")
    assert installation.run() == 0
    created = installation.simulator.counters()["batches_created"]
    set_job_paused(ledger_of(installation), "team", paused=True, actor="test")
    installation.drop(
        "second.jsonl", [chat(f"second {number}") for number in range(5)], label="team"
    )

    assert installation.run() == 4
    assert installation.states == {"succeeded": 1, "pending": 5}
    assert installation.simulator.counters()["batches_created"] == created
    set_job_paused(ledger_of(installation), "team", paused=False, actor="test")
    assert installation.run() == 0

    assert installation.states == {"succeeded": 6}
    assert installation.simulator.counters()["batches_created"] == created + 1


def test_cancelling_a_job_cancels_its_batch_and_delivers_every_request(
    installation: Any, chat: Chat
) -> None:
    installation.simulator.set_scenarios("stuck:phase=in_progress")
    installation.drop("job.jsonl", [chat(f"cancel {number}") for number in range(20)])
    assert installation.run(timeout_seconds=4) == 4

    assert cancel_job(ledger_of(installation), "job", actor="test") == (0, 20)
    installation.simulator.release()
    assert installation.run() in {0, 3}

    states = installation.states
    assert set(states) <= {"succeeded", "cancelled"}
    assert sum(states.values()) == 20
    results = installation.results("job")
    assert sorted(line["custom_id"] for line in results) == sorted(
        f"cancel {number}" for number in range(20)
    )
    assert installation.simulator.counters()["calls"]["batches.cancel"] >= 1


def test_a_retried_job_buys_only_what_failed_and_keeps_the_earlier_results(
    installation: Any, chat: Chat
) -> None:
    installation.simulator.set_scenarios("error_lines:every=4,status=400", next_batches=1)
    installation.drop("job.jsonl", [chat(f"again {number}") for number in range(20)])
    assert installation.run() == 3
    paid = installation.simulator.counters()["lines_paid"]
    assert installation.states == {"succeeded": 15, "failed": 5}

    assert retry_job(ledger_of(installation), "job", cancelled_too=False, actor="test") == 5
    assert installation.run() == 0

    assert installation.states == {"succeeded": 20}
    assert installation.simulator.counters()["lines_paid"] == paid + 5
    assert len(installation.results("job")) == 25
    ordered = installation.results("job", "results.sorted.jsonl")
    assert [line["custom_id"] for line in ordered] == [f"again {number}" for number in range(20)]
    assert all(line["response"]["status_code"] == 200 for line in ordered)


def test_what_a_killed_intake_left_half_written_is_swept_by_the_next(
    installation: Any, chat: Chat
) -> None:
    segments = installation.data / "segments"
    segments.mkdir(parents=True)
    leftover = segments / ".000009.parquet.tmp"
    leftover.write_bytes(b"half a segment")
    installation.drop("job.jsonl", [chat("swept")])

    assert installation.run() == 0

    assert not leftover.exists()
