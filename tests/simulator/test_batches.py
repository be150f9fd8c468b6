from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types import (
    Completion,
    CreateEmbeddingResponse,
    ImagesResponse,
    ModerationCreateResponse,
)
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

if TYPE_CHECKING:
    from conftest import Account
    from pydantic import BaseModel


CHAT = "/v1/chat/completions"


def body_of(line: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = line["response"]["body"]
    return body


def test_a_batch_runs_to_completion_with_every_line_answered(account: Account) -> None:
    created = account.start(account.lines(200))
    assert (created.status, created.object) == ("validating", "batch")
    assert created.id.startswith("batch_")
    assert created.request_counts is not None
    assert created.request_counts.total == 0
    assert created.expires_at is None
    assert created.output_file_id is None
    batch = account.wait(created)
    assert batch.status == "completed"
    assert batch.model == "gpt-4o-mini-2025-08-07"
    assert batch.expires_at == batch.created_at + 86_400
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 200, "completed": 200, "failed": 0}
    assert batch.error_file_id is None
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert times == sorted(time for time in times if time is not None)
    lines = account.output(batch)
    assert {line["custom_id"] for line in lines} == {f"id-{number}" for number in range(200)}
    assert len({line["id"] for line in lines}) == len(lines) == 200
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(body_of(x)["usage"]["prompt_tokens"] for x in lines)
    assert batch.usage.output_tokens == sum(body_of(x)["usage"]["completion_tokens"] for x in lines)


def test_unset_fields_are_null_and_not_left_out(account: Account) -> None:
    batch = account.start(account.lines(1))
    fields = {"errors", "error_file_id", "failed_at", "expired_at", "cancelled_at", "metadata"}
    sent = batch.to_dict(exclude_unset=True)
    assert {name for name in fields if sent.get(name, "absent") is None} == fields


def test_the_output_is_not_in_the_order_of_the_input(account: Account) -> None:
    for count in (2, 5, 50):
        lines = account.output(account.run(account.lines(count)))
        assert [line["custom_id"] for line in lines] != [f"id-{n}" for n in range(count)]


def test_each_answer_belongs_to_its_request(account: Account) -> None:
    lines = account.output(account.run(account.lines(50)))
    for line in lines:
        sent = f"{account.folder} {line['custom_id'].removeprefix('id-')}"
        assert body_of(line)["choices"][0]["message"]["content"] == f"echo:{sent[:40]}"


PARTS = [{"type": "input_text", "text": "first"}, {"type": "input_text", "text": "second"}]
BODIES: list[tuple[str, type[BaseModel], dict[str, Any]]] = [
    (CHAT, ChatCompletion, {"messages": [{"role": "user", "content": "hello"}]}),
    (CHAT, ChatCompletion, {"messages": [{"role": "user", "content": PARTS}]}),
    ("/v1/responses", Response, {"input": "hello", "instructions": "be kind"}),
    ("/v1/responses", Response, {"input": [{"role": "user", "content": PARTS}]}),
    ("/v1/embeddings", CreateEmbeddingResponse, {"input": ["one", "two"], "dimensions": 8}),
    ("/v1/embeddings", CreateEmbeddingResponse, {"input": [[1, 2, 3], [4]]}),
    ("/v1/completions", Completion, {"prompt": ["a", "b"]}),
    ("/v1/moderations", ModerationCreateResponse, {"input": "hello"}),
    ("/v1/images/generations", ImagesResponse, {"prompt": "a cat", "n": 2}),
    ("/v1/images/edits", ImagesResponse, {"prompt": "a dog", "images": [{"file_id": "f"}]}),
]


@pytest.mark.parametrize(("endpoint", "kind", "body"), BODIES)
def test_every_endpoint_answers_in_the_shape_of_its_sdk_type(
    account: Account, endpoint: str, kind: type[BaseModel], body: dict[str, Any]
) -> None:
    wish = {"custom_id": "only", "method": "POST", "url": endpoint, "body": {"model": "m", **body}}
    batch = account.run([wish], endpoint)
    (line,) = account.output(batch)
    assert line["custom_id"] == "only"
    assert line["error"] is None
    assert line["id"].startswith("batch_req_")
    assert line["response"]["status_code"] == 200
    assert line["response"]["request_id"].startswith("req_")
    kind.model_validate(body_of(line), strict=True)
    if endpoint != "/v1/moderations":
        assert batch.usage is not None
        assert batch.usage.input_tokens > 0


def test_answers_depend_on_the_input(account: Account) -> None:
    def embed(number: int, given: Any) -> dict[str, Any]:
        body = {"model": "text-embedding-3-small", "input": given}
        url = "/v1/embeddings"
        return {"custom_id": str(number), "method": "POST", "url": url, "body": body}

    batch = account.run([embed(1, "a"), embed(2, "b"), embed(3, ["a", "b"])], "/v1/embeddings")
    found = {line["custom_id"]: body_of(line)["data"] for line in account.output(batch)}
    first, second = found["1"][0]["embedding"], found["2"][0]["embedding"]
    assert first != second
    assert [each["embedding"] for each in found["3"]] == [first, second]
    assert sum(each * each for each in first) == pytest.approx(1.0)


def test_an_embedding_can_be_asked_for_as_base64(account: Account) -> None:
    body = {"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 4}
    wish = {"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": body}
    (line,) = account.output(account.run([wish], "/v1/embeddings"))
    assert len(body_of(line)["data"][0]["embedding"]) == 24


def test_metadata_and_output_expiry_are_kept(account: Account) -> None:
    file = account.upload(account.lines(1))
    batch = account.client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"ours": "1"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert batch.metadata == {"ours": "1"}
    ended = account.wait(batch)
    assert ended.output_file_id is not None
    output = account.client.files.retrieve(ended.output_file_id)
    assert output.expires_at == output.created_at + 3600
    assert output.purpose == "batch_output"
    assert output.bytes == len(account.raw(output.id))


def test_a_line_without_its_input_fails_alone(account: Account) -> None:
    bad = {"custom_id": "bad", "method": "POST", "url": CHAT, "body": {"model": "gpt-4o-mini"}}
    odd = {**bad, "custom_id": "odd", "body": {"model": "gpt-4o-mini", "messages": 5}}
    batch = account.run([*account.lines(3), bad, odd])
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 3, "failed": 2}
    errors = {line["custom_id"]: line for line in account.errors(batch)}
    assert errors["bad"]["error"] is None
    assert errors["bad"]["response"]["status_code"] == 400
    assert body_of(errors["bad"])["error"]["code"] == "missing_required_parameter"
    assert body_of(errors["odd"])["error"]["code"] == "invalid_type"


def test_odd_but_valid_bodies_are_answered(account: Account) -> None:
    odd = (
        b'{"custom_id":"\\u00e9\\"\xe2\x80\xa8","method":"POST","url":"/v1/chat/completions","body":'
        b'{"model":"m","x":1e400,"y":123456789012345678901234567890,"x":[],"messages":'
        b'[{"role":"user","content":"hi","content":"there"}]}}'
    )
    (line,) = account.output(account.run([odd]))
    assert line["custom_id"] == '\u00e9"\u2028'


def test_batches_are_listed_newest_first_in_pages(account: Account) -> None:
    file = account.upload(account.lines(1))
    made = [account.create(file.id).id for _ in range(5)]
    page = account.client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:2:-1]
    assert page.has_more
    listed = [batch.id for batch in account.client.batches.list(limit=2)]
    assert listed[:5] == made[::-1]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/videos"}, "endpoint"),
        ({"endpoint": "/v1/nonsense"}, "endpoint"),
        ({"completion_window": "48h"}, "completion_window"),
        ({"input_file_id": "file-nothing"}, "input_file_id"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k": 5}}, "metadata.k"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            "output_expires_after.seconds",
        ),
    ],
)
def test_a_wrong_create_is_refused_at_once(
    account: Account, change: dict[str, Any], param: str
) -> None:
    file = account.upload(account.lines(1))
    created = account.simulator.counters()["batches_created"]
    wish: dict[str, Any] = {
        "input_file_id": file.id,
        "endpoint": CHAT,
        "completion_window": "24h",
    } | change
    with pytest.raises(openai.BadRequestError) as caught:
        account.client.batches.create(**wish)
    assert caught.value.param == param
    assert account.simulator.counters()["batches_created"] == created


def test_a_file_of_another_purpose_is_no_batch(account: Account) -> None:
    file = account.client.files.create(file=("x.jsonl", b"{}\n"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        account.create(file.id)


def test_an_unknown_batch_is_a_404(account: Account) -> None:
    for call in (account.client.batches.retrieve, account.client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call("batch_nothing")


def test_an_ended_batch_cannot_be_cancelled(account: Account) -> None:
    batch = account.run(account.lines(1))
    with pytest.raises(openai.BadRequestError, match="completed"):
        account.client.batches.cancel(batch.id)


def test_a_cancelled_batch_keeps_its_finished_lines(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=finalizing")
    batch = account.wait(account.start(account.lines(20)), "finalizing")
    answer = account.client.batches.cancel(batch.id)
    assert answer.status == "cancelling"
    assert answer.cancelling_at is not None
    ended = account.wait(answer)
    assert ended.status == "cancelled"
    assert ended.cancelled_at is not None
    assert len(account.output(ended)) == 20


def test_a_batch_cancelled_before_its_check_has_no_files(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=validating")
    batch = account.start(account.lines(5))
    ended = account.wait(account.client.batches.cancel(batch.id))
    assert ended.status == "cancelled"
    assert (ended.output_file_id, ended.error_file_id) == (None, None)


def test_an_input_file_may_be_deleted_once_the_batch_is_in_progress(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=in_progress")
    batch = account.wait(account.start(account.lines(5)), "in_progress")
    account.client.files.delete(batch.input_file_id)
    account.simulator.release(batch.id)
    assert len(account.output(account.wait(batch))) == 5


def test_a_batch_whose_file_is_deleted_before_its_check_fails(account: Account) -> None:
    account.simulator.set_scenarios("stuck:phase=validating")
    batch = account.start(account.lines(5))
    account.client.files.delete(batch.input_file_id)
    account.simulator.release(batch.id)
    ended = account.wait(batch)
    assert ended.status == "failed"
    assert ended.errors is not None
    assert ended.errors.data is not None
    assert "Cannot find file" in str(ended.errors.data[0].message)


def test_the_same_file_can_be_run_again_and_is_billed_again(account: Account) -> None:
    before = account.simulator.counters()
    first = account.run(account.lines(10))
    account.wait(account.create(first.input_file_id))
    after = account.simulator.counters()
    assert after["lines_paid"] - before["lines_paid"] == 20
    again = after["lines_paid_more_than_once"] - before["lines_paid_more_than_once"]
    assert again == 10


def test_calls_are_counted_by_kind(account: Account) -> None:
    before = account.simulator.counters()["calls"]
    account.client.batches.list()
    account.client.batches.list()
    after = account.simulator.counters()["calls"]
    changed = {kind: after[kind] - before.get(kind, 0) for kind in after}
    assert {kind: times for kind, times in changed.items() if times} == {"batches.list": 2}


def test_bodies_that_were_paid_twice_are_named_with_their_batches(account: Account) -> None:
    known = {each["body_hash"] for each in account.simulator.paid_twice()}
    first = account.run(account.lines(1))
    assert {each["body_hash"] for each in account.simulator.paid_twice()} == known
    second = account.run([{**account.lines(1)[0], "custom_id": "another"}])
    (new,) = [each for each in account.simulator.paid_twice() if each["body_hash"] not in known]
    assert new["times"] == 2
    assert new["batches"] == [first.id, second.id]


def test_output_lines_are_plain_json_lines(account: Account) -> None:
    raw = account.raw(account.run(account.lines(3)).output_file_id)
    assert raw.endswith(b"\n")
    assert [json.loads(line)["error"] for line in raw.splitlines()] == [None] * 3
