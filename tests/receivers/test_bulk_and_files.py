"""Uploads: all that is good of them lies in the inbox, or nothing; the same one is recognised."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import polars as pl
import pytest
import zstandard
from web_process import StartWeb, Web, json_lines, request_line

BULK = "/api/requests/bulk"


def lines_of(count: int, prefix: str | None = None) -> bytes:
    prefix = prefix or uuid4().hex
    return json_lines(*(request_line(f"{prefix}-{number}") for number in range(count)))


def staged(web: Web, job: str) -> Path:
    return web.directory.inbox / f"{job}.jsonl"


def test_an_upload_becomes_a_job_of_its_own(shared_web: Web) -> None:
    body = lines_of(1_000)
    answer = shared_web.client.post(BULK, content=body)
    found = answer.json()
    assert answer.status_code == 202
    assert (found["lines"], found["accepted"], found["rejected"]) == (1_000, 1_000, 0)
    assert staged(shared_web, found["job"]).read_bytes() == body


def test_the_same_upload_again_is_recognised_until_it_is_wanted_again(shared_web: Web) -> None:
    body = lines_of(10)
    first, second = (shared_web.client.post(BULK, content=body).json() for _ in range(2))
    assert (second["job"], second["duplicate"], second["accepted"]) == (first["job"], True, 0)
    third = shared_web.client.post(f"{BULK}?again=true", content=body).json()
    assert (third["accepted"], third["duplicate"]) == (10, False)
    assert third["job"] != first["job"]
    side_file = shared_web.directory.inbox / f"{third['job']}.job.json"
    assert json.loads(side_file.read_bytes()) == {"again": True}


def test_bad_lines_are_refused_alone_with_number_and_place(shared_web: Web) -> None:
    good = [request_line(uuid4().hex) for _ in range(2)]
    bad = b'{"custom_id":"bad","method":"GET"}\n'
    body = json_lines(good[0]) + b"\n" + bad + b"nonsense\n" + json_lines(good[1])
    found = shared_web.client.post(BULK, content=body).json()
    assert (found["lines"], found["accepted"], found["rejected"]) == (4, 2, 2)
    first, second = found["errors"]
    assert (first["line"], first["custom_id"], second["line"]) == (3, "bad", 4)
    assert {fault["pointer"] for fault in first["faults"]} == {"/method", "/url", "/body"}
    assert staged(shared_web, found["job"]).read_bytes() == json_lines(*good)


def test_a_line_may_be_as_large_as_a_single_request_and_not_larger(start_web: StartWeb) -> None:
    web = start_web(OBM_MAX_REQUEST_BYTES=1_000)
    lines = [request_line(name, "x" * size) for name, size in (("a", 9), ("b", 2_000), ("c", 9))]
    found = web.client.post(BULK, content=json_lines(*lines)).json()
    assert (found["accepted"], found["rejected"]) == (2, 1)
    assert (found["errors"][0]["line"], found["errors"][0]["code"]) == (2, "line_too_large")
    assert "at most 1,000" in found["errors"][0]["reason"]
    assert staged(web, found["job"]).read_bytes() == json_lines(lines[0], lines[2])


def test_when_every_line_is_bad_nothing_is_kept(shared_web: Web) -> None:
    before = shared_web.inbox_names()
    answer = shared_web.client.post(BULK, content=b"x\n" * 1_500)
    found = answer.json()
    assert (answer.status_code, found["rejected"]) == (422, 1_500)
    assert (len(found["errors"]), found["errors_left_out"]) == (1_000, 500)
    assert shared_web.client.post(BULK, content=b"").status_code == 422
    assert shared_web.inbox_names() == before


def test_every_line_gets_its_verdict_if_that_is_wanted(shared_web: Web) -> None:
    line = request_line(uuid4().hex)
    other = request_line(line["custom_id"], "other")
    answer = shared_web.client.post(
        BULK,
        content=json_lines(line, line, other) + b"1\n",
        headers={"Accept": "application/x-ndjson"},
    )
    verdicts = [json.loads(text) for text in answer.text.splitlines()]
    assert [verdict["verdict"] for verdict in verdicts] == [
        "accepted", "duplicate", "rejected", "rejected",
    ]  # fmt: skip
    assert verdicts[2]["code"] == "duplicate_custom_id"


def test_a_labelled_job_knows_the_ids_of_earlier_uploads(shared_web: Web) -> None:
    label, line = f"Label {uuid4().hex}", request_line(uuid4().hex)
    url = f"{BULK}?job={label}"
    assert shared_web.client.post(url, content=json_lines(line)).json()["job"] == label
    again = shared_web.client.post(url, content=json_lines(line))
    assert (again.status_code, again.json()["duplicate"]) == (202, True)
    other = request_line(line["custom_id"], "other")
    conflict = shared_web.client.post(url, content=json_lines(other))
    assert conflict.json()["errors"][0]["code"] == "duplicate_custom_id"
    single = shared_web.client.post(f"/api/requests?job={label}", content=json_lines(line))
    assert single.json()["duplicate"] is True


def test_the_destination_of_all_lines_stands_beside_the_file(shared_web: Web) -> None:
    config = {"type": "webhook", "webhook_url": "https://example.com/x"}
    job = f"to-webhook-{uuid4().hex}"
    found = shared_web.client.post(
        BULK, params={"job": job, "delivery_config": json.dumps(config)}, content=lines_of(1)
    )
    assert found.status_code == 202, found.text
    side_file = next(shared_web.directory.inbox.glob(f"{job}-*.job.json"))
    assert json.loads(side_file.read_bytes()) == {"label": job, "delivery_config": config}


@pytest.mark.parametrize(
    "query",
    [
        "delivery_config=x", "delivery_config=1", 'delivery_config={"type":"nope"}',
        'delivery_config={"type":"named","name":"nobody"}', "again=perhaps", "job=", "jobb=x",
        "job=default",
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(shared_web: Web, query: str) -> None:
    answer = shared_web.client.post(f"{BULK}?{query}", content=lines_of(1))
    problem = answer.json()["errors"][0]
    assert (answer.status_code, problem["code"]) == (422, "invalid_parameter")
    assert problem["source"]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_packed_uploads_are_unpacked_and_cut_ones_leave_nothing(
    shared_web: Web, encoding: str
) -> None:
    body = lines_of(2_000)
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    packed, headers = pack(body), {"Content-Encoding": encoding}
    twice = shared_web.client.post(BULK, content=packed + pack(lines_of(1)), headers=headers)
    assert twice.json()["accepted"] == 2_001
    before = shared_web.inbox_names()
    for broken in (packed[:-3], packed[: len(packed) // 2], b"nonsense"):
        answer = shared_web.client.post(BULK, content=broken, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_encoding")
    assert shared_web.inbox_names() == before


def test_an_upload_that_breaks_off_leaves_nothing(shared_web: Web) -> None:
    before = shared_web.inbox_names()

    def breaking() -> Iterator[bytes]:
        yield lines_of(2_000)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        httpx.post(f"{shared_web.url}{BULK}", content=breaking())
    with socket.create_connection(("127.0.0.1", shared_web.port)) as half:
        half.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % BULK.encode())
        half.sendall(b"Content-Length: 5000000\r\n\r\n" + lines_of(1_000))
        assert b" 408 " in half.recv(4_096)
    assert shared_web.inbox_names() == before
    assert not list(shared_web.directory.receiving.glob(".upload-*"))


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet"])
def test_every_format_lies_in_the_inbox_as_it_was_sent(
    shared_web: Web, ending: str, tmp_path: Path
) -> None:
    body = lines_of(3)
    if ending == "parquet":
        pl.DataFrame({"custom_id": [uuid4().hex]}).write_parquet(tmp_path / "x")
        body = (tmp_path / "x").read_bytes()
    elif ending == "jsonl.gz":
        body = gzip.compress(body)
    elif ending == "jsonl.zst":
        body = zstandard.compress(body)
    name = f"{uuid4().hex}.{ending}"
    answer = shared_web.client.post("/api/files", params={"name": name}, content=body)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "file": name, "job": name.partition(".")[0], "bytes": len(body), "duplicate": False,
    }  # fmt: skip
    assert (shared_web.directory.inbox / name).read_bytes() == body


def test_a_form_brings_a_file_with_its_settings(shared_web: Web) -> None:
    body, name = lines_of(5_000), f"{uuid4().hex}.jsonl"
    settings = {"label": "Form", "max_wait_seconds": 5}
    answer = shared_web.client.post(
        "/api/files",
        params={"job": json.dumps(settings)},
        data={"comment": "x" * 1_000},
        files={"file": (name, body)},
    )
    assert (answer.status_code, answer.json()["job"]) == (202, "Form")
    assert (shared_web.directory.inbox / name).read_bytes() == body
    side_file = shared_web.directory.inbox / f"{name.removesuffix('.jsonl')}.job.json"
    assert json.loads(side_file.read_bytes()) == settings


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/x.jsonl", "x.jsonl"), ("C:\\temp\\y.csv", "y.csv"),
        ("..hidden.jsonl", "hidden.jsonl"), ("a\nb.jsonl", "a_b.jsonl"),
    ],
)  # fmt: skip
def test_a_name_leads_nowhere_else(shared_web: Web, name: str, stored: str) -> None:
    answer = shared_web.client.post("/api/files", params={"name": name}, content=lines_of(1))
    assert answer.json()["file"] == stored
    assert (shared_web.directory.inbox / stored).exists()


@pytest.mark.parametrize(
    "name", ["", "x", "x.txt", ".jsonl", "x.job.json", "/", "a" * 300 + ".jsonl", "x.jsonl.part"]
)
def test_a_name_that_tells_no_format_is_refused(shared_web: Web, name: str) -> None:
    answer = shared_web.client.post("/api/files", params={"name": name}, content=lines_of(1))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_parameter")


def test_files_that_are_cut_or_empty_are_refused(shared_web: Web) -> None:
    before = shared_web.inbox_names()
    for name, body in (
        ("x.jsonl.gz", gzip.compress(lines_of(100))[:-4]),
        ("x.jsonl.zst", zstandard.compress(lines_of(100))[:-4]),
        ("x.parquet", b"PAR1 and no end"),
        ("x.jsonl", b""),
    ):
        answer = shared_web.client.post("/api/files", params={"name": name}, content=body)
        problem = answer.json()["errors"][0]
        assert (answer.status_code, problem["code"]) == (422, "invalid_file"), name
    assert shared_web.inbox_names() == before


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
    ],
)
def test_a_broken_form_is_refused(shared_web: Web, content_type: str, body: bytes) -> None:
    answer = shared_web.client.post(
        "/api/files?name=x.jsonl", content=body, headers={"Content-Type": content_type}
    )
    assert answer.status_code in {400, 422}, answer.text
