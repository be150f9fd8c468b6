"""What becomes of a message's body and headers, without a broker."""

import json
from typing import Any

import pytest
from factories import RULES, chat_line

from receivers.rabbitmq_verdicts import Refused, judge
from storage.received_lines import ReceivedLine, read_received_line

LARGEST = 2_000
MOMENT = 1_700_000_000_000_000


def judged(body: bytes, headers: dict[str, Any] | None = None) -> bytes | Refused:
    return judge(body, headers, rules=RULES, largest_bytes=LARGEST, received_at_us=MOMENT)


def taken(body: bytes, headers: dict[str, Any] | None = None) -> ReceivedLine:
    line = judged(body, headers)
    assert isinstance(line, bytes), line
    assert line.endswith(b"\n")
    read = read_received_line(line[:-1])
    assert read is not None
    return read


def test_a_request_becomes_a_line_of_the_default_job_byte_for_byte() -> None:
    body = chat_line("a", text="grüße")
    assert taken(body) == ReceivedLine("default", MOMENT, body)
    assert taken(body, {}) == taken(body, {"other": 1}) == taken(body)


def test_a_header_names_the_job() -> None:
    assert taken(chat_line("a"), {"x-obm-job": "Reviews 2026"}).job == "Reviews 2026"


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 201, 7, b"raw", ["a"], {"a": 1}])
def test_a_header_that_names_no_job_is_refused(label: object) -> None:
    refused = judged(chat_line("a"), {"x-obm-job": label})
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_job"
    assert "x-obm-job" in refused.reason


def test_a_request_on_several_lines_becomes_one_line_with_the_same_meaning() -> None:
    body = json.dumps(json.loads(chat_line("a", text="two\nlines")), indent=2).encode()
    line = taken(body.replace(b"\n", b"\r\n")).line
    assert b"\n" not in line
    assert json.loads(line) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"[]", "not_an_object"),
        (b"1", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"\xff\xfe", "invalid_utf8"),
        (b"{}", "invalid_custom_id"),
        (chat_line("a").replace(b"POST", b"GET"), "invalid_method"),
        (chat_line("a", stream=True), "stream_not_allowed"),
        (b"[" * 1_900, "nested_too_deeply"),
        (chat_line("a", text="line\nbreak").replace(b"\\n", b"\n"), "not_json"),
        (b"x" * (LARGEST + 1), "line_too_large"),
    ],
)
def test_what_is_no_request_is_refused_with_a_code_and_a_reason(body: bytes, code: str) -> None:
    refused = judged(body)
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert refused.reason


def test_a_defect_while_reading_puts_the_message_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("with the secret body")

    monkeypatch.setattr("receivers.rabbitmq_verdicts.read_request", broken)
    refused = judged(chat_line("a"))
    assert isinstance(refused, Refused)
    assert refused.code == "defect"
    assert "ZeroDivisionError" in refused.reason
    assert "secret" not in refused.reason
