from __future__ import annotations

import io
import json
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPResponse

    from conftest import Account

    from simulator.process import SimulatorProcess


def test_an_uploaded_file_comes_back_byte_for_byte(account: Account) -> None:
    content = b'{"odd": "\xe2\x80\xa8"}\r\n--boundary\r\n' * 40_000
    path = account.folder / "upload.jsonl"
    path.write_bytes(content)
    with path.open("rb") as file:
        stored = account.client.files.create(file=file, purpose="batch")
    assert stored.id.startswith("file-")
    assert (stored.bytes, stored.filename) == (len(content), "upload.jsonl")
    assert (stored.purpose, stored.status) == ("batch", "processed")
    with account.client.files.with_streaming_response.content(stored.id) as response:
        response.stream_to_file(account.folder / "back")
        assert int(response.headers["content-length"]) == len(content)
    assert (account.folder / "back").read_bytes() == content


def test_an_empty_file_can_be_stored_and_read(account: Account) -> None:
    stored = account.client.files.create(file=("empty.jsonl", b""), purpose="batch")
    assert stored.bytes == 0
    assert account.client.files.content(stored.id).read() == b""


def test_a_file_expires_when_its_uploader_wants_it_to(account: Account) -> None:
    stored = account.client.files.create(
        file=("x.jsonl", io.BytesIO(b"{}\n")),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert stored.expires_at == stored.created_at + 7200
    kept = account.client.files.create(file=("x.jsonl", b"{}\n"), purpose="user_data")
    assert kept.expires_at is None


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"purpose": "holiday"}, "purpose"),
        (
            {"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 5}},
            "expires_after.seconds",
        ),
        (
            {"purpose": "batch", "expires_after": {"anchor": "birth", "seconds": 7200}},
            "expires_after.anchor",
        ),
    ],
)
def test_an_upload_with_wrong_settings_is_refused(
    account: Account, arguments: dict[str, Any], param: str
) -> None:
    stored_before = account.simulator.counters()["files_stored"]
    with pytest.raises(openai.BadRequestError) as caught:
        account.client.files.create(file=("x.jsonl", b"{}\n"), **arguments)
    assert caught.value.param == param
    assert account.simulator.counters()["files_stored"] == stored_before


def test_files_are_listed_in_pages_in_both_orders_and_by_purpose(account: Account) -> None:
    for name in ("one", "two", "three", "four", "five"):
        account.client.files.create(file=(f"{name}.jsonl", b"{}\n"), purpose="vision")
    account.client.files.create(file=("other.jsonl", b"{}\n"), purpose="evals")
    newest = account.client.files.list(purpose="vision", limit=2)
    assert [each.filename for each in newest.data] == ["five.jsonl", "four.jsonl"]
    assert newest.has_more
    every = [each.filename for each in account.client.files.list(purpose="vision", limit=2)]
    assert every == ["five.jsonl", "four.jsonl", "three.jsonl", "two.jsonl", "one.jsonl"]
    oldest = account.client.files.list(purpose="vision", limit=2, order="asc")
    assert [each.filename for each in oldest] == every[::-1]


def test_a_deleted_file_is_gone(account: Account) -> None:
    stored = account.client.files.create(file=("x.jsonl", b"{}\n"), purpose="batch")
    answer = account.client.files.delete(stored.id)
    assert answer.deleted
    assert answer.id == stored.id
    for call in (
        account.client.files.retrieve,
        account.client.files.content,
        account.client.files.delete,
    ):
        with pytest.raises(openai.NotFoundError):
            call(stored.id)


def get(simulator: SimulatorProcess, path: str, **headers: str) -> tuple[HTTPResponse, Any]:
    address = simulator.url.removeprefix("http://").partition("/")[0]
    connection = HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    content = json.load(response)
    connection.close()
    return response, content


def test_an_error_body_has_all_four_keys(simulator: SimulatorProcess) -> None:
    response, content = get(simulator, "/v1/files/file-nothing", Authorization="Bearer x")
    assert response.status == 404
    assert response.headers["x-request-id"].startswith("req_")
    assert content["error"] == {
        "message": "No such File object: file-nothing",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }


def test_a_call_without_a_key_is_refused(simulator: SimulatorProcess) -> None:
    response, content = get(simulator, "/v1/files")
    assert response.status == 401
    assert set(content["error"]) == {"message", "type", "param", "code"}


def test_an_unknown_url_is_a_404_in_the_shape_of_the_api(simulator: SimulatorProcess) -> None:
    response, content = get(simulator, "/v1/nonsense", Authorization="Bearer x")
    assert response.status == 404
    assert content["error"]["code"] == "unknown_url"


def test_a_body_that_is_no_form_is_refused(account: Account) -> None:
    with pytest.raises(openai.BadRequestError, match="multipart"):
        account.client.post("/files", body={"file": "x"}, cast_to=object)


def test_a_batch_file_must_be_named_jsonl(account: Account) -> None:
    with pytest.raises(openai.BadRequestError, match=r"must be \.jsonl"):
        account.client.files.create(file=("x.json", b"{}\n"), purpose="batch")


def test_an_upload_that_breaks_off_leaves_nothing_behind(
    account: Account, simulator: SimulatorProcess
) -> None:
    stored = simulator.counters()["files_stored"]
    address = simulator.url.removeprefix("http://").partition("/")[0]
    connection = HTTPConnection(address, timeout=10)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", "Bearer x")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
    connection.send(part + b"x" * 1000)
    uploads = simulator.directory / "uploads"
    wait_until(lambda: any(uploads.iterdir()))
    connection.close()
    wait_until(lambda: not any(uploads.iterdir()))
    assert simulator.counters()["files_stored"] == stored
    assert account.upload(account.lines(1)).id


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_models_are_listed(account: Account) -> None:
    assert "gpt-4o-mini" in [model.id for model in account.client.models.list()]
    assert account.client.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        account.client.models.retrieve("gpt-0")
