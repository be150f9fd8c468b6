"""`POST /api/requests`: what was answered with 202 is on the disk, all else says why not."""

import gzip
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
import zstandard
from web_process import Web, request_line


def codes(answer: httpx.Response) -> list[str]:
    assert answer.headers["content-type"] == "application/json"
    errors = answer.json()["errors"]
    assert all(error["title"] and error["detail"] for error in errors)
    return [error["code"] for error in errors]


def fresh(**more: Any) -> dict[str, Any]:
    return request_line(uuid4().hex, **more)


def test_an_accepted_request_is_in_the_log_before_it_is_answered(shared_web: Web) -> None:
    line = fresh()
    answer = shared_web.client.post("/api/requests", json=line)
    assert (answer.status_code, answer.json()) == (202, {"custom_id": line["custom_id"]})
    assert line["custom_id"] in shared_web.accepted_ids()


def test_a_repeat_is_accepted_as_a_duplicate_and_written_once(shared_web: Web) -> None:
    line = fresh()
    answers = [shared_web.client.post("/api/requests", json=line) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].json() == {"custom_id": line["custom_id"], "duplicate": True}
    assert shared_web.accepted_ids().count(line["custom_id"]) == 1


def test_the_same_id_with_another_content_is_a_conflict(shared_web: Web) -> None:
    line = fresh()
    shared_web.client.post("/api/requests", json=line)
    answer = shared_web.client.post("/api/requests", json=request_line(line["custom_id"], "other"))
    assert (answer.status_code, codes(answer)) == (409, ["duplicate_custom_id"])


def test_jobs_have_ids_of_their_own(shared_web: Web) -> None:
    line = fresh()
    shared_web.client.post("/api/requests", json=line)
    other = request_line(line["custom_id"], "other")
    answer = shared_web.client.post("/api/requests", params={"job": "nightly"}, json=other)
    assert answer.json() == {"custom_id": line["custom_id"]}


def test_of_equal_ids_at_the_same_time_one_content_wins(shared_web: Web) -> None:
    custom_id = uuid4().hex

    def send(number: int) -> int:
        line = request_line(custom_id, f"content {number % 4}")
        return httpx.post(f"{shared_web.url}/api/requests", json=line).status_code

    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(send, range(32)))
    assert (statuses.count(202), statuses.count(409)) == (8, 24)
    assert shared_web.accepted_ids().count(custom_id) == 1


def test_newlines_between_the_parts_are_no_matter(shared_web: Web) -> None:
    line = fresh()
    pretty = json.dumps(line, indent=2).encode()
    assert shared_web.client.post("/api/requests", content=pretty).status_code == 202
    assert line["custom_id"] in shared_web.accepted_ids()


def test_all_faults_are_named_with_their_places(shared_web: Web) -> None:
    wrong = {
        "custom_id": "",
        "method": "GET",
        "url": "/v1/unknown",
        "body": {"stream": True},
        "a/b": 1,
        "delivery_config": {"type": "webhook", "webhook_url": "ftp://x", "extra": 1},
    }
    answer = shared_web.client.post("/api/requests", json=wrong)
    assert answer.status_code == 422
    assert {error["source"]["pointer"] for error in answer.json()["errors"]} == {
        "/a~1b", "/custom_id", "/method", "/url", "/body/model", "/body/stream",
        "/delivery_config/webhook_url", "/delivery_config/extra",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"custom_id": NaN}', b'{"a":1}}', b"nonsense", b"\x00"],
)
def test_what_is_no_json_is_a_400(shared_web: Web, body: bytes) -> None:
    answer = shared_web.client.post("/api/requests", content=body)
    assert answer.status_code == 400, answer.text
    assert codes(answer)


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"1", b'"x"', b"null", b"true", b"{}",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"custom_id":"a","custom_id":"b"}',
        b'{"custom_id":"\\ud800"}',
    ],
    ids=lambda body: body[:20].decode(),
)  # fmt: skip
def test_what_is_no_request_is_a_422(shared_web: Web, body: bytes) -> None:
    answer = shared_web.client.post("/api/requests", content=body)
    assert answer.status_code == 422, answer.text
    assert codes(answer)


def test_a_destination_that_cannot_be_reached_is_refused(shared_web: Web) -> None:
    line = fresh(delivery_config={"type": "named", "name": "nobody"})
    answer = shared_web.client.post("/api/requests", json=line)
    assert (answer.status_code, codes(answer)) == (422, ["validation_error"])


@pytest.mark.parametrize("job", ["", "a\nb", "x" * 201, "%00"])
def test_a_job_that_cannot_be_called_so_is_refused(shared_web: Web, job: str) -> None:
    answer = shared_web.client.post(f"/api/requests?job={job}".replace("\n", "%0A"), json=fresh())
    assert (answer.status_code, codes(answer)) == (422, ["invalid_parameter"])


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_packed_body_is_unpacked(shared_web: Web, encoding: str) -> None:
    line = fresh()
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    body = pack(json.dumps(line).encode())
    headers = {"Content-Encoding": encoding}
    assert shared_web.client.post("/api/requests", content=body, headers=headers).is_success
    cut = shared_web.client.post("/api/requests", content=body[:-5], headers=headers)
    assert (cut.status_code, codes(cut)) == (400, ["invalid_encoding"])


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_small_body_that_unpacks_to_a_large_one_is_too_large(
    shared_web: Web, encoding: str
) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    answer = shared_web.client.post(
        "/api/requests", content=pack(bytes(50_000_000)), headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, codes(answer)) == (413, ["payload_too_large"])


def test_an_unknown_encoding_is_a_415(shared_web: Web) -> None:
    answer = shared_web.client.post(
        "/api/requests", content=b"x", headers={"Content-Encoding": "br"}
    )
    assert (answer.status_code, codes(answer)) == (415, ["unsupported_encoding"])


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_10_mb_is_too_large(shared_web: Web, *, announced: bool) -> None:
    body = bytes(10_000_000)
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    answer = httpx.post(f"{shared_web.url}/api/requests", content=body if announced else pieces)
    assert (answer.status_code, codes(answer)) == (413, ["payload_too_large"])
    assert answer.headers["connection"] == "close"


def test_other_methods_and_addresses_are_refused_in_the_same_shape(shared_web: Web) -> None:
    for method, path, status in (
        ("PUT", "/api/requests", 405), ("GET", "/api/files", 405), ("DELETE", "/health", 405),
        ("POST", "/api/nothing", 404), ("GET", "/nothing", 404), ("GET", "/api/requests/", 404),
    ):  # fmt: skip
        answer = shared_web.client.request(method, path)
        assert (answer.status_code, len(codes(answer))) == (status, 1), path


def test_every_answer_keeps_browsers_from_doing_harm(shared_web: Web) -> None:
    for answer in (
        shared_web.client.post("/api/requests", json=fresh()),
        shared_web.client.post("/api/requests", content=b"{"),
        shared_web.client.get("/api/openapi"),
        shared_web.client.get("/nothing"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_document_describes_the_doors_and_the_page_needs_nobody_else(shared_web: Web) -> None:
    document = shared_web.client.get("/api/openapi").json()
    assert {"/api/requests", "/api/requests/bulk", "/api/files"} <= document["paths"].keys()
    page = shared_web.client.get("/api/swaggerui")
    assert "//" not in page.text.replace("<!doctype", "")
    for part in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert part in page.text
        assert shared_web.client.get(f"/api/swaggerui/{part}").is_success
    assert shared_web.client.get("/api/swaggerui/other.js").status_code == 404


def test_head_is_get_without_the_body(shared_web: Web) -> None:
    head = shared_web.client.head("/api/swaggerui")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 100


def test_what_an_address_answers_is_told(shared_web: Web) -> None:
    options = shared_web.client.options("/api/requests")
    assert (options.status_code, options.content) == (204, b"")
    wrong = shared_web.client.put("/api/requests")
    assert options.headers["allow"] == wrong.headers["allow"] == "GET, HEAD, POST"


def test_what_is_no_http_is_refused_in_the_same_shape(shared_web: Web) -> None:
    with socket.create_connection(("127.0.0.1", shared_web.port), timeout=10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["errors"][0]["code"] == "invalid_http"
