"""What the failure policy promises beyond the matrix: stopped accounts and refused files."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.snapshots import snapshot

Chat = Callable[..., dict[str, Any]]
NO_CREDIT = "error_lines:share=1,status=429,code=insufficient_quota"


def value(installation: Any, sql: str) -> Any:
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        return reader.value(sql)


def alerts(caplog: pytest.LogCaptureFixture) -> int:
    return sum("refuses the account" in record.message for record in caplog.records
               if record.levelno == logging.ERROR)  # fmt: skip


def of_account(installation: Any) -> list[str]:
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        rows = reader.rows(
            "SELECT target FROM transitions WHERE entity = 'account' ORDER BY happened_at"
        )
    return [row["target"] for row in rows]


def test_an_account_without_credit_is_told_once_and_tried_with_one_request(
    installation: Any, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    installation.simulator.set_scenarios(NO_CREDIT)
    installation.drop("job.jsonl", [chat(f"credit {number}") for number in range(20)])
    lines_before = installation.simulator.counters()["lines_executed"]

    assert installation.run() == 2
    assert installation.run() == 2

    tried = installation.simulator.counters()["lines_executed"] - lines_before
    assert tried == 20 + 1
    assert installation.states == {"pending": 20}
    assert value(installation, "SELECT max(attempts) + max(returns) FROM requests") == 0
    assert alerts(caplog) == 1
    assert of_account(installation) == ["refused"]

    installation.simulator.clear_scenarios()
    assert installation.run() == 0

    assert installation.states == {"succeeded": 20}
    assert of_account(installation) == ["refused", "working"]
    assert alerts(caplog) == 1
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()


def test_an_account_that_may_list_but_not_create_stays_stopped_until_it_may(
    installation: Any, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.simulator.set_scenarios("failing_calls:call=batches.create,times=2,status=403")
    installation.drop("job.jsonl", [chat(f"right {number}") for number in range(10)])

    assert [installation.run(), installation.run(), installation.run()] == [2, 2, 0]

    assert of_account(installation) == ["refused", "working"]
    assert alerts(caplog) == 1
    assert installation.simulator.counters()["batches_created"] == created + 1


def test_a_batch_refused_for_the_account_goes_again_when_it_works(
    installation: Any, chat: Chat
) -> None:
    installation.simulator.set_scenarios("refused_batches:times=1,code=billing_hard_limit_reached")
    installation.drop("job.jsonl", [chat(f"bill {number}") for number in range(10)])

    assert installation.run() == 2
    assert installation.states == {"batched": 10}
    assert installation.run() == 0

    assert installation.states == {"succeeded": 10}


@pytest.mark.timeout(600)
def test_a_key_of_another_project_buys_nothing_until_the_former_one_is_back(
    installation: Any, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.simulator.set_scenarios("stuck:phase=in_progress", next_batches=1)
    installation.drop("first.jsonl", [chat(f"first {number}") for number in range(5)])
    submitted = "SELECT count(*) FROM batches WHERE provider_id IS NOT NULL"
    installation.run(timeout_seconds=3)
    while not value(installation, submitted):
        installation.run(timeout_seconds=3)
    other = {"openai_api_key": SecretStr("key of another project")}

    assert installation.run(timeout_seconds=15, **other) in {2, 4}
    installation.drop("second.jsonl", [chat(f"second {number}") for number in range(5)])
    assert installation.run(timeout_seconds=15, **other) in {2, 4}

    assert installation.simulator.counters()["batches_created"] == created + 1
    assert alerts(caplog) == 1
    installation.simulator.release()
    assert installation.run() == 0
    assert installation.states == {"succeeded": 10}
    assert of_account(installation) == ["refused", "working"]


@pytest.mark.timeout(600)
def test_a_bad_request_is_told_the_providers_reason_and_a_restart_in_between_changes_nothing(
    installation: Any, chat: Chat, proven: Callable[..., None]
) -> None:
    paid_before = installation.simulator.counters()["lines_paid_more_than_once"]
    installation.simulator.set_scenarios("bad_lines:containing= 5?,names=no,code=odd_request")
    installation.drop("job.jsonl", [chat(f"halved {number}") for number in range(12)])

    code, runs = 4, 0
    while code == 4 and runs < 60:
        code, runs = installation.run(timeout_seconds=1), runs + 1

    assert code in {0, 3}  # a run tells only of what has failed in it
    assert installation.states == {"succeeded": 11, "failed": 1}
    (failed,) = (line for line in installation.results("job") if line["error"])
    assert failed["custom_id"] == "halved 5"
    assert failed["error"]["code"] == "obm_batch_refused"
    assert "odd_request" in failed["error"]["message"]
    assert value(installation, "SELECT max(returns) + max(attempts) FROM requests") == 1
    assert installation.simulator.counters()["lines_paid_more_than_once"] == paid_before
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()
    proven(kills=0, faults=5, requests=12, lost=0, double_paid=0)
