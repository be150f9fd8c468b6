from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from conftest import Account
    from openai.types import Batch


def first_error(batch: Batch) -> tuple[str | None, str]:
    assert batch.errors is not None
    assert batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.line, error.param) == (None, None)
    return error.code, str(error.message)


def test_an_expired_batch_keeps_its_finished_half(account: Account) -> None:
    account.simulator.set_scenarios("expires")
    before = account.simulator.counters()["lines_paid"]
    batch = account.run(account.lines(21))
    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert batch.completed_at is None
    output, errors = account.output(batch), account.errors(batch)
    assert (len(output), len(errors)) == (10, 11)
    every = {line["custom_id"] for line in output + errors}
    assert every == {f"id-{number}" for number in range(21)}
    for line in errors:
        assert line["response"] is None
        assert line["error"]["code"] == "batch_expired"
    assert account.simulator.counters()["lines_paid"] - before == 10


def test_an_expired_batch_may_blame_the_server(account: Account) -> None:
    account.simulator.set_scenarios("expires:at=0.25,text=generic")
    batch = account.run(account.lines(8))
    assert batch.status == "expired"
    assert [line["error"]["code"] for line in account.errors(batch)] == ["server_error"] * 6


def test_what_did_not_run_may_be_in_no_file(account: Account) -> None:
    account.simulator.set_scenarios("expires:at=0.5", "unlisted_rest")
    batch = account.run(account.lines(8))
    assert (batch.status, batch.error_file_id) == ("expired", None)
    assert len(account.output(batch)) == 4


def test_a_batch_may_be_cancelled_by_somebody_else(account: Account) -> None:
    account.simulator.set_scenarios("cancelled_outside:at=0.3", "stuck:phase=cancelling")
    batch = account.wait(account.start(account.lines(10)), "cancelling")
    assert batch.output_file_id is None
    account.simulator.release(batch.id)
    batch = account.wait(batch)
    assert batch.status == "cancelled"
    assert len(account.output(batch)) == 3
    assert [line["error"]["code"] for line in account.errors(batch)] == ["batch_cancelled"] * 7


@pytest.mark.parametrize("phase", ["validating", "in_progress", "finalizing"])
def test_a_batch_may_be_stuck_until_it_is_released(account: Account, phase: str) -> None:
    account.simulator.set_scenarios(f"stuck:phase={phase}")
    batch = account.wait(account.start(account.lines(3)), phase)
    time.sleep(0.1)
    assert account.client.batches.retrieve(batch.id).status == phase
    assert account.simulator.release(batch.id) == 1
    assert account.wait(batch).status == "completed"


def test_a_stuck_batch_goes_on_by_itself_after_its_time(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=finalizing,seconds=0.3")
    batch = account.wait(account.start(account.lines(3)), "finalizing")
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 3
    assert account.wait(batch).status == "completed"


def test_a_stuck_batch_does_not_hold_up_others(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=in_progress", next_batches=1)
    stuck = account.wait(account.start(account.lines(3)), "in_progress")
    assert account.run(account.lines(3, start=10)).status == "completed"
    account.simulator.release(stuck.id)
    account.wait(stuck)


def test_the_token_limit_refuses_the_first_batches(account: Account) -> None:
    account.simulator.set_scenarios("token_limit:times=2,limit=90000")
    file = account.upload(account.lines(2))
    statuses = []
    for _ in range(3):
        batch = account.wait(account.create(file.id))
        statuses.append(batch.status)
        if batch.status == "failed":
            code, message = first_error(batch)
            assert code == "token_limit_exceeded"
            assert "Limit: 90,000 enqueued tokens" in message
            assert message.startswith("Enqueued token limit reached for gpt-4o-mini in")
    assert statuses == ["failed", "failed", "completed"]


@pytest.mark.parametrize("status", [400, 429])
def test_the_token_limit_may_refuse_the_create_itself(account: Account, status: int) -> None:
    account.simulator.set_scenarios(f"token_limit:as={status}")
    created = account.simulator.counters()["batches_created"]
    file = account.upload(account.lines(2))
    with pytest.raises(openai.APIStatusError) as caught:
        account.create(file.id)
    assert (caught.value.status_code, caught.value.code) == (status, "token_limit_exceeded")
    assert re.search(r"Limit: ([\d,]+)", str(caught.value))
    assert account.simulator.counters()["batches_created"] == created
    assert account.wait(account.create(file.id)).status == "completed"


def long_lines(account: Account, count: int, model: str = "gpt-4o-mini") -> list[dict[str, object]]:
    lines = account.lines(count, model=model)
    for line in lines:
        line["body"]["messages"][0]["content"] += "x" * 4_000
    return lines


@pytest.mark.parametrize("how", ["failed", "400"])
def test_a_hidden_limit_refuses_what_does_not_fit_beside_the_rest(
    account: Account, how: str
) -> None:
    account.simulator.set_scenarios(f"hidden_limit:tokens=15000,as={how}")
    account.simulator.set_scenarios("stuck:phase=finalizing", next_batches=1)
    first = account.wait(account.start(long_lines(account, 10)), "finalizing")
    file = account.upload(long_lines(account, 6))
    if how == "failed":
        code, message = first_error(account.wait(account.create(file.id)))
        assert code == "token_limit_exceeded"
        assert "Limit: 15,000 enqueued tokens" in message
    else:
        with pytest.raises(openai.BadRequestError, match="15,000"):
            account.create(file.id)
    other = account.run(long_lines(account, 6, model="gpt-4o"))
    assert other.status == "completed"
    account.simulator.release(first.id)
    account.wait(first)
    assert account.wait(account.create(file.id)).status == "completed"


def test_a_hidden_limit_may_stick_after_the_queue_is_empty(account: Account) -> None:
    account.simulator.set_scenarios("hidden_limit:tokens=15000,sticks=0.7", model="sticky")
    assert account.run(long_lines(account, 10, model="sticky")).status == "completed"
    file = account.upload(long_lines(account, 10, model="sticky"))
    assert account.wait(account.create(file.id)).status == "failed"
    time.sleep(0.7)
    assert account.wait(account.create(file.id)).status == "completed"


def test_a_batch_above_the_hidden_limit_never_fits(account: Account) -> None:
    account.simulator.set_scenarios("hidden_limit:tokens=3000")
    assert account.run(long_lines(account, 4)).status == "failed"


@pytest.mark.parametrize("status", [400, 404])
def test_a_fresh_file_may_not_be_found_at_first(account: Account, status: int) -> None:
    account.simulator.set_scenarios(f"cannot_find_file:times=2,as={status}")
    for _ in range(2):
        file = account.upload(account.lines(1))
        for _ in range(2):
            with pytest.raises(openai.APIStatusError, match="Cannot find file") as caught:
                account.create(file.id)
            assert caught.value.status_code == status
        assert account.client.files.retrieve(file.id).id == file.id
        assert account.wait(account.create(file.id)).status == "completed"


def test_a_fresh_file_may_fail_the_batch_for_a_while(account: Account) -> None:
    account.simulator.set_scenarios("cannot_find_file:seconds=1.2,as=failed")
    file = account.upload(account.lines(1))
    assert "Cannot find file" in first_error(account.wait(account.create(file.id)))[1]
    time.sleep(1.2)
    assert account.wait(account.create(file.id)).status == "completed"


def test_a_batch_may_be_gone_for_some_polls_or_for_ever(account: Account) -> None:
    account.simulator.set_scenarios("vanished:polls=2", next_batches=1)
    batch = account.start(account.lines(1))
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            account.client.batches.retrieve(batch.id)
    assert account.wait(batch).status == "completed"
    account.simulator.set_scenarios("vanished")
    lost = account.start(account.lines(1))
    with pytest.raises(openai.NotFoundError):
        account.client.batches.retrieve(lost.id)
    assert lost.id not in [each.id for each in account.client.batches.list(limit=5).data]
    assert batch.id in [each.id for each in account.client.batches.list(limit=5).data]


def test_a_status_may_be_unknown_for_some_polls(account: Account) -> None:
    account.simulator.set_scenarios("unknown_status:polls=2,status=napping")
    batch = account.start(account.lines(1))
    shown = [account.client.batches.retrieve(batch.id).status for _ in range(2)]
    assert shown == ["napping", "napping"]
    assert account.wait(batch).status == "completed"


def test_counts_may_be_null_or_absent(account: Account) -> None:
    account.simulator.set_scenarios("no_counts", next_batches=1)
    sent = account.run(account.lines(1)).to_dict(exclude_unset=True)
    assert sent["request_counts"] is None
    account.simulator.set_scenarios("no_counts:as=absent", next_batches=1)
    assert "request_counts" not in account.run(account.lines(1)).to_dict(exclude_unset=True)


def test_an_error_file_id_may_be_an_empty_text(account: Account) -> None:
    account.simulator.set_scenarios("empty_error_file_id")
    batch = account.run(account.lines(1))
    assert batch.error_file_id == ""
    assert len(account.output(batch)) == 1


def test_scenarios_hold_for_the_models_that_they_name(account: Account) -> None:
    account.simulator.set_scenarios("all_fail", model="gpt-4o*")
    assert account.run(account.lines(1, model="gpt-4o-mini")).output_file_id is None
    assert account.run(account.lines(1, model="gpt-5")).error_file_id is None


def test_scenarios_hold_for_the_next_batches_only(account: Account) -> None:
    account.simulator.set_scenarios("all_fail", next_batches=2)
    assert [account.run(account.lines(1)).output_file_id is None for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert account.simulator.scenarios() == []
