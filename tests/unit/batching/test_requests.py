import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from batching.requests import ReadingRules, ReadRequest, Refusal, read_request
from batching.wire import LONGEST_WIRE_ID_BYTES

RULES = ReadingRules()
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]


def line_of(**changes: Any) -> bytes:
    envelope = {
        "custom_id": "a",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "gpt-4o-mini", "messages": MESSAGES},
        **changes,
    }
    given = {key: value for key, value in envelope.items() if value is not ...}
    return json.dumps(given, ensure_ascii=False).encode()


def with_body(body: bytes, *, url: str = CHAT) -> bytes:
    return b'{"custom_id":"a","method":"POST","url":"%s","body":%s}' % (url.encode(), body)


def accepted(line: bytes, rules: ReadingRules = RULES) -> ReadRequest:
    request = read_request(line, rules)
    assert isinstance(request, ReadRequest), request
    return request


def refused(line: bytes, rules: ReadingRules = RULES) -> Refusal:
    refusal = read_request(line, rules)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def test_a_plain_line_becomes_a_request_with_everything_computed() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":7}'
    request = accepted(with_body(body))
    counted = len(b'[{"role":"user","content":"hi"}]')
    wire = b'{"custom_id":"","method":"POST","url":"/v1/chat/completions","body":%s}\n' % body
    assert request == ReadRequest(
        custom_id="a",
        url=CHAT,
        model="m",
        body=body,
        delivery_config=None,
        wire_bytes=len(wire) + LONGEST_WIRE_ID_BYTES,
        tokens=11,
        output_tokens=7,
        embedding_inputs=0,
        id_hash=xxh3_64_intdigest(b"a"),
        payload_hash=xxh3_64_intdigest(body, xxh3_64_intdigest(CHAT.encode())),
    )
    assert counted == 32


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"{", "not_json", "character 2"),
        (b"plain text", "not_json", "character 1"),
        (line_of() + b"x", "not_json", "Extra data"),
        (line_of()[:-1], "not_json", "not JSON"),
        (with_body(b'{"model":"m","messages":[1,]}'), "not_json", "not JSON"),
        (with_body(b'{"model":"m","messages":[],"x":NaN}'), "not_json", "NaN"),
        (with_body(b'{"model":"m","messages":[],"x":-Infinity}'), "not_json", "-Infinity"),
        (with_body(b'{"model":"m","messages":["a\nb"]}'), "not_json", "control character"),
        (b"[]", "not_an_object", "an array"),
        (b'"text"', "not_an_object", "a string"),
        (b"null", "not_an_object", "null"),
        (b"7", "not_an_object", "a number"),
        (b"\xff\xfe", "invalid_utf8", "byte 1"),
        (with_body(b'{"model":"m","messages":["\xed\xa0\x80"]}'), "invalid_utf8", "UTF-8"),
        (with_body(b'{"model":"m","messages":["\xff"]}'), "invalid_utf8", "UTF-8"),
        (with_body(b'{"model":"m","messages":["\\ud800"]}'), "lone_surrogate", "surrogate"),
        (with_body(b'{"model":"m","messages":["\\udc00 "]}'), "lone_surrogate", "surrogate"),
        (with_body(b'{"model":"m","messages":["\\ud83dx\\ude00"]}'), "lone_surrogate", "half"),
        (with_body(b'{"model":"m","\\uD800":1,"messages":["x"]}'), "lone_surrogate", "half"),
        (line_of(custom_id=...), "invalid_custom_id", "missing"),
        (line_of(custom_id=""), "invalid_custom_id", "empty"),
        (line_of(custom_id=None), "invalid_custom_id", "null"),
        (line_of(custom_id=7), "invalid_custom_id", "a number"),
        (line_of(custom_id="x" * 513), "invalid_custom_id", "513"),
        (line_of(method=...), "invalid_method", "missing"),
        (line_of(method="GET"), "invalid_method", "GET"),
        (line_of(method="post"), "invalid_method", "POST"),
        (line_of(method=None), "invalid_method", "null"),
        (line_of(url=...), "invalid_url", "missing"),
        (line_of(url="/v1/videos"), "invalid_url", "/v1/videos"),
        (line_of(url=["/v1"]), "invalid_url", "batches know"),
        (line_of(body=...), "invalid_body", "missing"),
        (line_of(body=None), "invalid_body", "null"),
        (line_of(body="{}"), "invalid_body", "a string"),
        (line_of(body=[]), "invalid_body", "an array"),
        (line_of(body={"messages": MESSAGES}), "missing_model", "missing"),
        (line_of(body={"model": "", "messages": MESSAGES}), "missing_model", "empty"),
        (line_of(body={"model": 4, "messages": MESSAGES}), "missing_model", "no string"),
        (
            line_of(body={"model": "m", "messages": MESSAGES, "stream": True}),
            "stream_not_allowed",
            "stream",
        ),
        (line_of(body={"model": "m"}), "missing_input", "`messages`"),
        (line_of(body={"model": "m", "messages": None}), "missing_input", "`messages`"),
        (line_of(body={"model": "m", "input": "x"}), "missing_input", "/v1/embeddings"),
        (line_of(metadata={}), "unknown_key", '"metadata"'),
        (line_of(delivery_config={}), "invalid_destination", "type"),
        (line_of(delivery_config="file"), "invalid_destination", "object"),
        (
            line_of(delivery_config={"type": "rabbitmq", "rabbitmq_queue": "q"}),
            "destination_not_available",
            "RABBITMQ_URL",
        ),
        (
            line_of(delivery_config={"type": "named", "name": "crm"}),
            "destination_not_available",
            "'crm'",
        ),
    ],
)
def test_a_faulty_line_is_refused_with_code_and_reason(line: bytes, code: str, words: str) -> None:
    refusal = refused(line)
    assert refusal.code == code
    assert words in refusal.reason


@pytest.mark.parametrize(
    "extra",
    [
        b',"custom_id":"b"',
        b',"method":"POST"',
        b',"url":""',
        b',"url":"/v1/chat/completions"',
        b',"body":{"model":"m","messages":["x"]}',
        b',"body":0',
        b',"custom\\u005fid":"b"',
    ],
)
@pytest.mark.parametrize("in_front", [True, False])
def test_a_key_of_the_envelope_must_not_stand_twice(extra: bytes, in_front: bool) -> None:  # noqa: FBT001 - the two cases of the test
    line = line_of()
    doubled = b"{" + extra[1:] + b"," + line[1:] if in_front else line[:-1] + extra + b"}"
    assert refused(doubled).code == "duplicate_key"


def test_a_second_delivery_config_is_found_however_short_the_line_is() -> None:
    config = b',"delivery_config":{"type":"file"}'
    compact = with_body(b'{"model":"m","messages":["x"]}')[:-1]
    assert accepted(compact + config + b"}").delivery_config == '{"type":"file"}'
    assert refused(compact + config + config + b"}").code == "duplicate_key"


def test_all_faults_of_a_line_are_named_at_once() -> None:
    reason = refused(b'{"custom_id":"","url":"/v2","body":{"stream":true},"x":1}').reason
    for words in ("custom_id", "method", "/v2", "model", "stream", '"x"'):
        assert words in reason


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"a":1,"a":2}',
        b'{"model":"m","messages":["x"],"number":1e400,"negative":-1E+400}',
        b'{"model":"m","messages":["x"],"max_tokens":1e400}',
        b'{"model":"m","messages":["x"],"seed":123456789012345678901234567890}',
        b'{"model":"m","messages":["x"],"max_tokens":123456789012345678901234567890}',
        b'{"model":"m","messages":["x"],"seed":' + b"7" * 5_000 + b"}",
        b'{"model":"m","messages":["x"],"temperature":0.10,"n":1.0}',
        b'{ "model" : "m" , "messages" : [ "x" ] }',
        '{"model":"m","messages":["a\u2028b\u2029c\u0085d"]}'.encode(),
        '{"model":"m","messages":["😀 ñ 漢字"]}'.encode(),
        b'{"model":"m","messages":["\\ud83d\\ude00 \\u0000 \\\\ud800"]}',
        b'{"model":"m","messages":["x"],"stream":false}',
        b'{"model":"m","messages":["x"],"stream":null,"n":null,"max_tokens":null}',
        b'{"model":"m","messages":["x"],"max_tokens":"many"}',
        b'{"mod\\u0065l":"m","messages":["x"]}',
        b'{"model":"m","messages":[]}',
    ],
)
def test_a_body_passes_byte_for_byte(body: bytes) -> None:
    assert accepted(with_body(body)).body == body
    spaced = with_body(body).replace(b'"body":', b'  "body" :   ').replace(b'"POST"', b' "POST"  ')
    assert accepted(spaced).body == body


def test_a_line_of_ten_megabytes_passes() -> None:
    body = b'{"model":"m","messages":["' + b"x" * 10_000_000 + b'"]}'
    assert accepted(with_body(body)).body == body


@given(st.dictionaries(st.text(max_size=5), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
), max_size=5), st.text(min_size=1, max_size=512), st.booleans())  # fmt: skip
def test_whatever_json_a_body_holds_it_passes_or_is_refused_for_a_reason(
    extra: dict[str, Any],
    custom_id: str,
    escaped: bool,  # noqa: FBT001 - generated
) -> None:
    body = {**extra, "model": "m", "messages": MESSAGES, "stream": False}
    text = json.dumps(body, ensure_ascii=escaped).encode()
    line = b'{"custom_id":%s,"method":"POST","url":"/v1/chat/completions","body":%s}' % (
        json.dumps(custom_id, ensure_ascii=escaped).encode(),
        text,
    )
    request = accepted(line)
    assert request.body == text
    assert request.custom_id == custom_id


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_an_error(noise: bytes) -> None:
    assert isinstance(read_request(noise, RULES), Refusal)
    read_request(with_body(noise), RULES)


@pytest.mark.parametrize("custom_id", ["x", "x" * 512, "ü" * 512, "a/b c", 'q"uo\\te', "\u0000\n"])
def test_any_custom_id_of_1_to_512_characters_passes(custom_id: str) -> None:
    request = accepted(line_of(custom_id=custom_id))
    assert request.custom_id == custom_id
    assert request.id_hash == xxh3_64_intdigest(custom_id.encode())


@pytest.mark.parametrize(
    "first", [b"-1", b"null", b"[[]]", b'"other"', b'""', b"18446744073709551616"]
)
def test_of_a_model_that_stands_twice_the_last_one_counts(first: bytes) -> None:
    body = b'{"model":' + first + b',"model":"gpt-4o-mini","messages":[]}'

    assert accepted(with_body(body)).model == "gpt-4o-mini"


def test_objects_that_nest_without_end_are_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    refusal = refused(with_body(b'{"model":"m","messages":%s}' % deep))
    assert refusal.code == "nested_too_deeply"


def test_a_line_larger_than_a_batch_is_refused() -> None:
    line = line_of()
    size = accepted(line).wire_bytes
    assert accepted(line, ReadingRules(largest_line_bytes=size))
    refusal = refused(line, ReadingRules(largest_line_bytes=size - 1))
    assert refusal.code == "line_too_large"
    assert str(size) in refusal.reason


def test_the_order_of_keys_and_the_carriage_return_do_not_matter() -> None:
    line = b'{"body":{"messages":["x"],"model":"m"},"url":"%s","method":"POST","custom_id":"a"}\r'
    request = accepted(line % CHAT.encode())
    assert request.body == b'{"messages":["x"],"model":"m"}'


def test_a_destination_is_kept_in_one_canonical_form() -> None:
    plain = accepted(line_of(delivery_config={"type": "file"}))
    spaced = accepted(line_of()[:-1] + b' , "delivery_config" : { "type" : "file" } }')
    assert plain.delivery_config == spaced.delivery_config == '{"type":"file"}'
    assert plain.payload_hash == spaced.payload_hash
    assert plain.payload_hash != accepted(line_of()).payload_hash
    assert accepted(line_of(delivery_config=None)).delivery_config is None


def test_the_payload_hash_tells_url_and_body_apart() -> None:
    body = {"model": "m", "input": "x"}
    hashes = {
        accepted(line_of(url=url, body=body, custom_id=custom_id)).payload_hash
        for url in ("/v1/embeddings", "/v1/moderations", "/v1/responses")
        for custom_id in ("a", "b")
    }
    assert len(hashes) == 3
    assert accepted(line_of(body={**body, "messages": MESSAGES})).payload_hash not in hashes


@pytest.mark.parametrize(
    ("url", "body", "output_tokens", "inputs"),
    [
        ("/v1/responses", {"input": "x", "max_output_tokens": 9}, 9, 0),
        ("/v1/responses", {"prompt": {"id": "p"}}, 500, 0),
        ("/v1/responses", {"previous_response_id": "r"}, 500, 0),
        (CHAT, {"messages": MESSAGES, "max_completion_tokens": 5, "n": 3}, 15, 0),
        (CHAT, {"messages": MESSAGES, "max_completion_tokens": None, "max_tokens": 6}, 6, 0),
        (CHAT, {"messages": MESSAGES, "max_tokens": "six", "n": 2}, 1000, 0),
        ("/v1/completions", {"prompt": "x", "max_tokens": 4}, 4, 0),
        ("/v1/embeddings", {"input": ["a", "b", "c"]}, 0, 3),
        ("/v1/embeddings", {"input": "a"}, 0, 1),
        ("/v1/moderations", {"input": "a"}, 0, 0),
        ("/v1/images/generations", {"prompt": "a"}, 500, 0),
        ("/v1/images/edits", {"prompt": "a", "images": [{"file_id": "f"}]}, 500, 0),
    ],
)
def test_every_endpoint_counts_its_own_outputs_and_inputs(
    url: str, body: dict[str, Any], output_tokens: int, inputs: int
) -> None:
    request = accepted(line_of(url=url, body={"model": "m", **body}))
    assert (request.output_tokens, request.embedding_inputs) == (output_tokens, inputs)


def test_only_the_counted_fields_become_input_tokens() -> None:
    short = accepted(line_of()).tokens
    body = {"model": "m", "messages": MESSAGES, "metadata": {"note": "x" * 5_000}}
    assert accepted(line_of(body=body)).tokens == short
    body = {"model": "m", "messages": MESSAGES, "tools": [{"x": "y" * 3_500}]}
    assert accepted(line_of(body=body)).tokens > short + 1_000
