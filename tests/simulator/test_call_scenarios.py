from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import openai
import pytest

from simulator.scenarios import CATALOGUE, parse_scenario

if TYPE_CHECKING:
    from conftest import Account
    from openai.types import Batch

CHAT = "/v1/chat/completions"


def matching(account: Account, file_id: str) -> list[Batch]:
    listed = account.client.batches.list(limit=20).data
    return [batch for batch in listed if batch.input_file_id == file_id]


def hasty_create(account: Account, file_id: str) -> Batch:
    return account.client.with_options(timeout=0.3).batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def test_a_slow_create_has_made_the_batch_when_the_client_gives_up(account: Account) -> None:
    account.simulator.set_scenarios("slow_create:seconds=1")
    file = account.upload(account.lines(2))
    with pytest.raises(openai.APITimeoutError):
        hasty_create(account, file.id)
    (batch,) = matching(account, file.id)
    assert account.wait(batch).status == "completed"


def test_a_slow_create_may_show_its_batch_only_later(account: Account) -> None:
    account.simulator.set_scenarios("slow_create:seconds=1,batch=hidden,hidden_seconds=1")
    file = account.upload(account.lines(2))
    with pytest.raises(openai.APITimeoutError):
        hasty_create(account, file.id)
    assert matching(account, file.id) == []
    time.sleep(1)
    (batch,) = matching(account, file.id)
    assert account.wait(batch).status == "completed"


def test_a_slow_create_may_never_have_made_a_batch(account: Account) -> None:
    account.simulator.set_scenarios("slow_create:seconds=0.5,batch=never")
    created = account.simulator.counters()["batches_created"]
    file = account.upload(account.lines(2))
    with pytest.raises(openai.APITimeoutError):
        hasty_create(account, file.id)
    time.sleep(0.5)
    assert matching(account, file.id) == []
    assert account.simulator.counters()["batches_created"] == created
    assert hasty_create(account, file.id).id


@pytest.mark.parametrize(("batch", "made"), [("exists", 1), ("never", 0)])
def test_the_connection_may_break_after_a_create(account: Account, batch: str, made: int) -> None:
    account.simulator.set_scenarios(f"dropped_create:batch={batch}")
    file = account.upload(account.lines(2))
    with pytest.raises(openai.APIConnectionError):
        account.create(file.id)
    assert len(matching(account, file.id)) == made
    assert account.create(file.id).id


@pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
def test_any_call_may_lose_its_connection(account: Account, when: str, stored: int) -> None:
    account.simulator.set_scenarios(f"dropped_calls:call=files.create,when={when}")
    before = account.simulator.counters()["files_stored"]
    with pytest.raises(openai.APIConnectionError):
        account.upload(account.lines(2))
    assert account.simulator.counters()["files_stored"] - before == stored
    assert account.upload(account.lines(2)).id


def test_a_named_call_may_be_refused_with_a_time_to_wait(account: Account) -> None:
    account.simulator.set_scenarios(
        "failing_calls:call=batches.list,status=429,times=1,retry_after=2"
    )
    account.client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        account.client.batches.list()
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.code == "rate_limit_exceeded"
    account.client.batches.list()


def test_a_refusal_may_come_without_a_time_to_wait(account: Account) -> None:
    account.simulator.set_scenarios("failing_calls:status=429")
    for _ in range(3):
        with pytest.raises(openai.RateLimitError) as caught:
            account.client.models.list()
        assert "retry-after" not in caught.value.response.headers


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_calls_may_fail_with_any_status(account: Account, status: int) -> None:
    account.simulator.set_scenarios(f"failing_calls:call=files.list,status={status}")
    with pytest.raises(openai.APIStatusError) as caught:
        account.client.files.list()
    assert caught.value.status_code == status


def test_a_share_of_all_calls_may_fail(account: Account) -> None:
    account.simulator.set_scenarios("failing_calls:share=0.5,status=503")
    failed = 0
    for _ in range(60):
        try:
            account.client.models.list()
        except openai.InternalServerError:
            failed += 1
    assert 10 < failed < 50


def test_a_refused_upload_is_heard_by_a_client_that_is_still_sending(account: Account) -> None:
    account.simulator.set_scenarios("failing_calls:call=files.create,status=503,times=3")
    path = account.folder / "large.jsonl"
    path.write_bytes(b"x" * 30_000_000)
    for _ in range(3):
        with path.open("rb") as file, pytest.raises(openai.InternalServerError):
            account.client.files.create(file=file, purpose="batch")


def test_a_create_that_is_refused_for_one_reason_leaves_the_others_for_later(
    account: Account,
) -> None:
    account.simulator.set_scenarios("cannot_find_file:times=1", "token_limit:times=1,as=400")
    file = account.upload(account.lines(1))
    for reason in ("Cannot find file", "Enqueued token limit"):
        with pytest.raises(openai.BadRequestError, match=reason):
            account.create(file.id)
    assert account.wait(account.create(file.id)).status == "completed"


def test_a_call_may_be_slow(account: Account) -> None:
    account.simulator.set_scenarios("slow_calls:call=files.list,seconds=1,times=1")
    with pytest.raises(openai.APITimeoutError):
        account.client.with_options(timeout=0.3).files.list()
    account.client.with_options(timeout=5).files.list()


def test_a_download_may_break_in_the_middle(account: Account) -> None:
    batch = account.run(account.lines(2_000))
    account.simulator.set_scenarios("cut_downloads:times=1")
    with pytest.raises(openai.APIConnectionError):
        account.raw(batch.output_file_id)
    assert len(account.output(batch)) == 2_000


def test_a_download_may_be_short_and_look_whole(account: Account) -> None:
    batch = account.run(account.lines(100))
    account.simulator.set_scenarios("cut_downloads:times=1,as=short")
    short = account.raw(batch.output_file_id)
    assert short.endswith(b"\n")
    assert 0 < short.count(b"\n") < 60
    whole = account.raw(batch.output_file_id)
    assert whole.startswith(short)
    assert whole.count(b"\n") == 100


def test_a_download_may_answer_404(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:first=1", "missing_downloads:times=0,file=error")
    batch = account.run(account.lines(2))
    for _ in range(3):
        with pytest.raises(openai.NotFoundError):
            account.raw(batch.error_file_id)
    assert len(account.output(batch)) == 1


def test_a_wrong_scenario_is_refused_with_what_would_be_right(account: Account) -> None:
    for text, hint in (
        ("nonsense", "known are: ok"),
        ("stuck:phases=1", "it has: phase, seconds"),
        ("stuck:seconds=long", "must be of type float"),
        ("dropped_lines:paid=perhaps", "must be yes or no"),
    ):
        with pytest.raises(ValueError, match=hint):
            account.simulator.set_scenarios(text)
    assert account.simulator.scenarios() == []


def test_every_scenario_is_listed_with_its_parameters() -> None:
    command = [sys.executable, "-m", "simulator", "--list-scenarios"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for scenario in CATALOGUE:
        assert scenario.summary in table
        (line,) = [line for line in table.splitlines() if line.partition(":")[0] == scenario.name]
        assert parse_scenario(line).parameters == scenario.parameters
