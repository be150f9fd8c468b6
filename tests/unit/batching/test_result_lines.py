"""What a line of a result file says, and what follows for its request."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.provider import TokenUsage
from batching.result_lines import (
    Answer,
    OddLine,
    OwnCode,
    ResultLine,
    outcome_of,
    own_result_line,
    read_result_line,
)

CHAT = {
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"content": "hi \u2028 é"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}
RESPONSES = {
    "model": "gpt-5",
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "error": None,
    "output": [
        {"type": "reasoning", "summary": [], "content": None},
        {"type": "message", "content": [{"type": "output_text", "text": "one "}]},
        {"type": "function_call", "arguments": "{}"},
        {
            "type": "message",
            "content": [
                {"type": "output_text", "text": "two"},
                {"type": "refusal", "refusal": "no"},
            ],
        },
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}
EMBEDDINGS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "embedding": [0.25, -1e-9]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
COMPLETIONS = {"model": "m", "choices": [{"text": "and so", "finish_reason": "length"}]}
MODERATIONS = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": True}]}
IMAGES = {"data": [{"b64_json": "aGk="}], "usage": {"input_tokens": 5, "output_tokens": 100}}


def line_of(body: object = None, *, status: object = 200, **fields: Any) -> bytes:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    line = {"id": "batch_req_1", "custom_id": "abcd-1-2", "response": response, "error": None}
    return json.dumps({**line, **fields}, ensure_ascii=False).encode()


def not_executed(code: str | None, message: str = "why") -> bytes:
    return line_of(response=None, error={"code": code, "message": message})


def read(line: bytes) -> ResultLine:
    result = read_result_line(line)
    assert isinstance(result, ResultLine), result
    return result


class TestReading:
    def test_a_chat_line(self) -> None:
        line = line_of(CHAT)

        result = read(line)

        start = line.index(b'"abcd-1-2"')
        assert result == ResultLine(
            custom_id="abcd-1-2",
            id_start=start,
            id_end=start + 10,
            status_code=200,
            request_id="req_1",
            usage=TokenUsage(input_tokens=9, cached_tokens=3, output_tokens=4, reasoning_tokens=1),
            finish_reason="stop",
            content="hi \u2028 é",
            model="gpt-4o-mini-2024-07-18",
        )

    def test_a_responses_line_joins_its_output_texts(self) -> None:
        result = read(line_of(RESPONSES))

        assert result.content == "one two"
        assert result.finish_reason == "max_output_tokens"
        assert result.usage == TokenUsage(
            input_tokens=9, cached_tokens=3, output_tokens=4, reasoning_tokens=1
        )

    @pytest.mark.parametrize(
        ("body", "content", "finish_reason", "usage"),
        [
            (EMBEDDINGS, None, None, TokenUsage(input_tokens=8)),
            (COMPLETIONS, "and so", "length", None),
            (MODERATIONS, None, None, None),
            (IMAGES, None, None, TokenUsage(input_tokens=5, output_tokens=100)),
        ],
    )
    def test_lines_of_the_other_endpoints(
        self,
        body: object,
        content: str | None,
        finish_reason: str | None,
        usage: TokenUsage | None,
    ) -> None:
        result = read(line_of(body))

        assert (result.content, result.finish_reason, result.usage) == (
            content,
            finish_reason,
            usage,
        )

    def test_an_http_error_tells_its_code_and_message(self) -> None:
        body = {"error": {"message": "too long", "type": "bad", "code": "context_length_exceeded"}}

        result = read(line_of(body, status=400))

        assert (result.status_code, result.error_code, result.error_message) == (
            400,
            "context_length_exceeded",
            "too long",
        )

    def test_the_type_of_an_error_stands_in_for_a_missing_code(self) -> None:
        body = {"error": {"message": "sorry", "type": "server_error", "code": None}}

        assert read(line_of(body, status=500)).error_code == "server_error"

    def test_a_line_that_was_not_executed_tells_why(self) -> None:
        result = read(not_executed("batch_expired", "too late"))

        assert (result.status_code, result.error_code, result.error_message) == (
            None,
            "batch_expired",
            "too late",
        )

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":{"n":[1e400,-1e999]}}}',
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":{"n":'
            + b"9" * 6000
            + b"}}}",
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":{"s":"\\ud800"}}}',
            b'{"custom_id":"a-1-2","response":{"status_code":200.0,"body":[1]}}',
            b'{"custom_id":"a-1-2","response":{"status_code":"200","body":null}}',
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":{"choices":"none"}}}',
            b'\xef\xbb\xbf{"custom_id":"a-1-2","response":{"status_code":200}}',
        ],
    )
    def test_odd_values_inside_do_not_make_a_line_odd(self, raw: bytes) -> None:
        result = read(raw)

        assert (result.custom_id, result.status_code) == ("a-1-2", 200)
        assert raw[result.id_start : result.id_end] == b'"a-1-2"'

    def test_a_field_of_an_odd_type_leaves_the_others_readable(self) -> None:
        body = {**CHAT, "model": 7, "usage": {"prompt_tokens": 3.0, "completion_tokens": "x"}}

        result = read(line_of(body))

        assert (result.model, result.content) == (None, "hi \u2028 é")
        assert result.usage == TokenUsage(input_tokens=3)

    def test_lone_surrogates_are_replaced_in_what_is_extracted(self) -> None:
        raw = (
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":'
            b'{"choices":[{"message":{"content":"x\\ud800y"}}]}}}'
        )

        assert read(raw).content == "x?y"

    @pytest.mark.parametrize(
        "odd",
        [
            b'"usage":{"prompt_tokens":"\\ud800"}',
            b'"\\ud800":1',
            b'"error":{"\\uDfff":"\\ud800"}',
            b'"model":7,"\\ud800x":{"y\\udc00":[]}',
        ],
    )
    def test_lone_surrogates_in_any_place_leave_the_answer_readable(self, odd: bytes) -> None:
        raw = (
            b'{"custom_id":"a-1-2","response":{"status_code":200,"body":'
            b'{"choices":[{"message":{"content":"fine"}}],' + odd + b"}}}"
        )

        result = read(raw)

        assert (result.content, result.status_code) == ("fine", 200)
        assert raw[result.id_start : result.id_end] == b'"a-1-2"'

    @pytest.mark.parametrize("depth", range(960, 1_010, 3))
    def test_no_depth_of_nesting_ends_the_reading(self, depth: int) -> None:
        deep = b'{"custom_id":' * depth + b"1" + b"}" * depth
        raw = b'{"response":{"status_code":200,"body":' + deep + b'},"custom_id":"a-1-2"}'

        result = read_result_line(raw)

        assert isinstance(result, OddLine) or result.custom_id == "a-1-2"

    @pytest.mark.parametrize(
        ("body", "message"), [("<html>bad gateway</html>", "<html>bad gateway</html>"), ("", None)]
    )
    def test_a_body_that_is_text_becomes_the_message(self, body: str, message: str | None) -> None:
        assert read(line_of(body, status=502)).error_message == message

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"", "not JSON"),
            (b'{"custom_id":"a"', "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "no custom_id"),
            (b'{"custom_id":7}', "no custom_id"),
            (b'{"custom_id":"a","x":"\xff"}', "not UTF-8"),
        ],
    )
    def test_a_line_that_is_no_result_is_odd_with_a_reason(self, raw: bytes, reason: str) -> None:
        result = read_result_line(raw)

        assert isinstance(result, OddLine)
        assert reason in result.reason


class TestPlaceOfTheId:
    @pytest.mark.parametrize(
        "raw",
        [
            b'{"custom_id":"a-1-2"}',
            b'{ "id":null , "custom_id" :\t"a-1-2" }',
            b'{"response":{"body":{"custom_id":"a-1-2"}},"custom_id":"a-1-2"}',
            b'{"response":{"body":{"metadata":{"custom_id":"x"}}},"custom_id":"a-1-2"}',
            b'{"id":"custom_id","custom_id":"a-1-2"}',
            b'{"id":"\xc3\xa9\xe2\x80\xa8","x":[{"custom_id":1}],"custom_id":"a-1-2"}',
            b'{"custom_id":"first","custom_id":"a-1-2"}',
        ],
    )
    def test_it_is_that_of_the_outermost_object(self, raw: bytes) -> None:
        result = read(raw)

        outside = raw[: result.id_start] + b'"user"' + raw[result.id_end :]
        assert raw[result.id_start : result.id_end] == b'"a-1-2"'
        assert json.loads(outside)["custom_id"] == "user"

    def test_an_escaped_id_is_covered_with_its_escapes(self) -> None:
        raw = b'{"custom_id":"\\u0061-1-2","response":null}'

        result = read(raw)

        assert result.custom_id == "a-1-2"
        assert raw[result.id_start : result.id_end] == b'"\\u0061-1-2"'

    @settings(deadline=None)
    @given(
        custom_id=st.text(), ascii_only=st.booleans(), body=st.dictionaries(st.text(), st.text())
    )
    def test_any_id_can_be_replaced_without_touching_another_byte(
        self, *, custom_id: str, ascii_only: bool, body: dict[str, str]
    ) -> None:
        raw = json.dumps(
            {"response": {"status_code": 200, "body": body}, "custom_id": custom_id},
            ensure_ascii=ascii_only,
        ).encode("utf-8", "replace")

        result = read(raw)

        expected = {**json.loads(raw), "custom_id": "user"}
        assert json.loads(raw[: result.id_start] + b'"user"' + raw[result.id_end :]) == expected


class TestOutcome:
    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (200, Answer.SUCCEEDED),
            (201, Answer.SUCCEEDED),
            (299, Answer.SUCCEEDED),
            (302, Answer.FAILED),
            (400, Answer.FAILED),
            (404, Answer.FAILED),
            (429, Answer.MAY_PASS),
            (500, Answer.MAY_PASS),
            (503, Answer.MAY_PASS),
            (0, Answer.MAY_PASS),
            (None, Answer.MAY_PASS),
        ],
    )
    def test_the_http_status_decides(self, status: int | None, outcome: Answer) -> None:
        line = read(line_of({}, status=status))

        assert outcome_of(line, batch_status="completed") is outcome

    @pytest.mark.parametrize("batch_status", ["completed", "expired", "cancelled"])
    @pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled", "request_timeout"])
    def test_what_was_not_executed_has_not_run(self, code: str, batch_status: str) -> None:
        line = read(not_executed(code))

        assert outcome_of(line, batch_status=batch_status) is Answer.NOT_RUN
        assert line.is_cancelled is (code == "batch_cancelled")

    @pytest.mark.parametrize(
        ("code", "batch_status", "outcome"),
        [
            ("server_error", "completed", Answer.MAY_PASS),
            (None, "completed", Answer.MAY_PASS),
            ("content_policy", "completed", Answer.FAILED),
            ("server_error", "cancelled", Answer.NOT_RUN),
            ("content_policy", "cancelled", Answer.FAILED),
            ("server_error", "expired", Answer.NOT_RUN),
            ("something_new", "expired", Answer.NOT_RUN),
        ],
    )
    def test_other_errors_without_an_answer(
        self, code: str | None, batch_status: str, outcome: Answer
    ) -> None:
        assert outcome_of(read(not_executed(code)), batch_status=batch_status) is outcome

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (200, Answer.SUCCEEDED),
            (400, Answer.FAILED),
            (429, Answer.MAY_PASS),
            (500, Answer.NOT_RUN),
        ],
    )
    def test_in_an_expired_batch_a_server_error_means_that_it_never_ran(
        self, status: int, outcome: Answer
    ) -> None:
        line = read(line_of({}, status=status))

        assert outcome_of(line, batch_status="expired") is outcome

    def test_a_400_with_a_null_error_is_no_success(self) -> None:
        line = read(line_of({"error": {"message": "no", "code": "bad"}}, status=400, error=None))

        assert outcome_of(line, batch_status="completed") is Answer.FAILED


class TestOwnLines:
    def test_a_result_without_a_line_of_the_provider_has_the_same_shape(self) -> None:
        line = own_result_line('é"1', OwnCode.BATCH_REFUSED, "empty_file: The file is empty.")

        assert json.loads(line) == {
            "id": None,
            "custom_id": 'é"1',
            "response": None,
            "error": {
                "code": "obm_batch_refused",
                "message": "The provider refused the batch that held this request. "
                "empty_file: The file is empty.",
            },
        }
        assert "é".encode() in line
        assert b"\n" not in line

    @pytest.mark.parametrize("code", OwnCode)
    def test_every_code_is_marked_as_ours_and_says_a_sentence(self, code: OwnCode) -> None:
        result = read(own_result_line("a", code))

        assert result.error_code == code.value
        assert code.value.startswith("obm_")
        assert result.error_message == code.sentence
        assert code.sentence.endswith(".")
