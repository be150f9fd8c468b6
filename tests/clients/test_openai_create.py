"""Creating a batch: one attempt, and an error that says whether a batch may exist."""

import socket
import traceback
from typing import Any

import pytest

from batching.errors import (
    AccountRefused,
    AmbiguousCreate,
    CapacityExceeded,
    InputFileNotVisible,
    ProviderUnavailable,
    RequestRefused,
    Throttled,
)

FULL_QUEUE = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-1. "
    "Limit: 2,000,000 enqueued tokens. Please try again once some batches have been completed."
)


def create(client: Any) -> Any:
    return client.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", metadata={"obm_batch": "7"}
    )


def test_a_create_sends_file_endpoint_window_and_metadata_once(server: Any, client: Any) -> None:
    server.say({"id": "batch_1", "status": "validating", "metadata": {"obm_batch": "7"}})

    batch = create(client)

    assert (batch.id, batch.metadata) == ("batch_1", {"obm_batch": "7"})
    assert [(call.method, call.path) for call in server.calls] == [("POST", "/v1/batches")]
    assert server.calls[0].body == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"obm_batch": "7"},
    }


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529])
def test_a_status_that_leaves_it_open_is_ambiguous_and_not_retried(
    server: Any, client: Any, pauses: list[float], status: int
) -> None:
    server.refuse(status)

    with pytest.raises(AmbiguousCreate, match="file-1"):
        create(client)

    assert len(server.calls) == 1
    assert pauses == []


def test_a_late_answer_is_ambiguous(server: Any, client_of: Any) -> None:
    server.say({"id": "batch_1"}, delay_seconds=0.6)

    with pytest.raises(AmbiguousCreate, match="may exist"):
        create(client_of(server.url, create_timeout_seconds=0.2))

    assert len(server.calls) == 1


def test_a_connection_that_is_reset_after_sending_is_ambiguous(server: Any, client: Any) -> None:
    server.say(reset=True)

    with pytest.raises(AmbiguousCreate):
        create(client)


def test_an_answer_cut_in_its_middle_is_ambiguous(server: Any, client: Any) -> None:
    server.say(b'{"id": "batch_1", "sta', announced_bytes=500)

    with pytest.raises(AmbiguousCreate):
        create(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>Sign in to the hotel network</html>",
        b"",
        b"{}",
        b"[]",
        b'{"id": ""}',
        b'{"id": 7}',
        b'{"id": "batch_1',
        b'{"id": "\\ud800"}',
        b'{"id": "batch 1\\n"}',
        b"[" * 5_000,
        b'{"id": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe{\x00}\x00",
    ],
    ids=range(12),
)
def test_a_200_that_is_no_batch_is_ambiguous(server: Any, client: Any, answer: bytes) -> None:
    server.say(answer, status=201)

    with pytest.raises(AmbiguousCreate):
        create(client)

    assert len(server.calls) == 1


def test_a_server_that_is_not_there_has_surely_created_nothing(client_of: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    with pytest.raises(ProviderUnavailable, match="Nothing was sent"):
        create(client_of(f"http://127.0.0.1:{port}/v1"))


def test_a_create_never_uses_a_connection_that_was_kept_open(server: Any, client: Any) -> None:
    server.say({"id": "batch_1"}).say({"id": "batch_2"})

    assert [create(client).id, create(client).id] == ["batch_1", "batch_2"]

    first, second = server.calls
    assert first.connection != second.connection


def test_a_redirected_create_is_refused_and_not_sent_elsewhere(server: Any, client: Any) -> None:
    server.say(b"", status=301, headers={"Location": "https://other.example/v1/batches"})

    with pytest.raises(RequestRefused, match=r"other\.example.*OPENAI_BASE_URL"):
        create(client)

    assert len(server.calls) == 1


def test_a_429_is_throttled_with_the_pause_that_was_asked_for(server: Any, client: Any) -> None:
    server.refuse(429, "Rate limit reached", headers={"Retry-After": "7"})

    with pytest.raises(Throttled) as caught:
        create(client)

    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize("code", ["token_limit_exceeded", None])
def test_the_token_limit_is_capacity_whatever_its_status(
    server: Any, client: Any, status: int, code: str | None
) -> None:
    server.refuse(status, FULL_QUEUE, code=code)

    with pytest.raises(CapacityExceeded) as caught:
        create(client)

    assert caught.value.limit_tokens == 2_000_000


@pytest.mark.parametrize("status", [400, 404])
def test_an_input_file_that_is_not_found_yet_is_told_apart(
    server: Any, client: Any, status: int
) -> None:
    server.refuse(
        status, "Cannot find file file-1, or organization org-1 does not have access to it."
    )

    with pytest.raises(InputFileNotVisible, match="file-1"):
        create(client)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "invalid_api_key"),
        (403, None),
        (429, "insufficient_quota"),
        (400, "billing_hard_limit_reached"),
    ],
)
def test_trouble_with_the_account_is_told_apart(
    server: Any, client: Any, status: int, code: str | None
) -> None:
    server.refuse(status, "no", code=code)

    with pytest.raises(AccountRefused):
        create(client)


def test_any_other_refusal_keeps_its_code(server: Any, client: Any) -> None:
    server.refuse(400, "Invalid endpoint.", code="invalid_value", headers={"x-request-id": "req_9"})

    with pytest.raises(RequestRefused, match=r"Invalid endpoint \(request req_9\)") as caught:
        create(client)

    assert caught.value.code == "invalid_value"


def test_the_key_appears_in_no_message_and_no_traceback(server: Any, client: Any) -> None:
    key = "sk-secret-0123456789"
    server.refuse(401, f"Incorrect API key provided: {key}", code="invalid_api_key")

    with pytest.raises(AccountRefused) as caught:
        create(client)

    shown = "".join(traceback.format_exception(caught.value))
    assert server.calls[0].headers["authorization"] == f"Bearer {key}"
    assert "Incorrect API key provided: ***" in shown
    assert key not in shown
