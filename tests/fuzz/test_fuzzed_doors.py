"""Spoilt requests that come through the doors are answered, and what is accepted is kept."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import web_process
from factories import RULES
from fuzzed_files import FuzzedFile, fuzzed_file
from fuzzed_intake import IntakeProcess
from fuzzed_lines import LineMaker

from batching.line_faults import list_faults
from batching.requests import ReadRequest, read_request
from receivers.rabbitmq_verdicts import DEFECT, Refused, judge
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger
from storage.received_lines import on_one_line, read_received_line

REFUSALS = {400, 409, 413, 422}
NOT_IN_THE_LINE = {
    "invalid_destination", "destination_not_available", "line_too_large", "nested_too_deeply",
    "duplicate_custom_id",
}  # fmt: skip


@pytest.fixture
def web(tmp_path: Path) -> Iterator[web_process.Web]:
    started = web_process.start(tmp_path / "data", OBM_SEAL_SECONDS=3600)
    started.client.timeout = 120
    yield started
    web_process.end(started)


def send_spoilt(
    web: web_process.Web, *, bulk: int, single: int, proven: Callable[..., None]
) -> None:
    """Send an upload and single requests, take in what was accepted, and count it."""
    file = fuzzed_file(21, bulk, "jsonl")
    accepted = upload(web, file) + send_singly(web, single)
    assert "Traceback" not in web.log.read_text()
    assert web.stop() == 0
    with IntakeProcess(web.directory.root) as intake:
        intake.take_in()
    ledger = Ledger.open(web.directory)
    with ledger.transaction() as reader:
        assert reader.value("SELECT count(*) FROM requests WHERE state = 'pending'") == accepted
    assert list(web.directory.rejected.iterdir()) == []
    assert examine(web.directory, patience_seconds=0).findings == ()
    proven(faults=file.spoilt + single, requests=accepted, lost=0, double_paid=0)


def upload(web: web_process.Web, file: FuzzedFile) -> int:
    """Return how many lines of an upload were accepted."""
    answer = web.client.post(
        "/api/requests/bulk", content=file.content, headers={"Accept": "application/x-ndjson"}
    )
    assert answer.status_code == 202
    verdicts: dict[int, dict[str, Any]] = {}
    for text in answer.content.splitlines():
        verdict = json.loads(text)
        assert verdict["line"] not in verdicts
        verdicts[verdict["line"]] = verdict
    assert verdicts.keys() == file.lines.keys()
    for number, verdict in verdicts.items():
        line = file.lines[number]
        if verdict["verdict"] == "rejected":
            assert verdict["code"] in NOT_IN_THE_LINE or list_faults(line), (number, line)
        else:
            assert list_faults(line) == [], (number, line)
    taken = {each["custom_id"] for each in verdicts.values() if each["verdict"] == "accepted"}
    assert taken >= file.good.keys()
    return len(taken)


def send_singly(web: web_process.Web, count: int) -> int:
    """Return how many requests were accepted that were sent one by one."""
    accepted = set()
    for made in LineMaker(22, prefix="single").lines(count):
        answer = web.client.post("/api/requests", content=made.text)
        if answer.status_code == 202:
            assert list_faults(on_one_line(made.text)) == [], made.text
            accepted.add(answer.json()["custom_id"])
        else:
            assert answer.status_code in REFUSALS, (answer.status_code, made.text)
            assert all(error["detail"] for error in answer.json()["errors"])
            assert not made.is_good, made.text
    return len(accepted)


def test_spoilt_requests_by_rest_are_answered_and_the_accepted_are_kept(
    web: web_process.Web, proven: Callable[..., None]
) -> None:
    send_spoilt(web, bulk=1_500, single=150, proven=proven)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_many_spoilt_requests_by_rest_are_answered_and_the_accepted_are_kept(
    web: web_process.Web, proven: Callable[..., None]
) -> None:
    send_spoilt(web, bulk=50_000, single=5_000, proven=proven)


@pytest.mark.parametrize(
    "count",
    [5_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["some", "many"],
)
def test_spoilt_messages_are_taken_as_they_are_or_refused(
    count: int, proven: Callable[..., None]
) -> None:
    for made in LineMaker(23).lines(count):
        verdict = judge(made.text, None, rules=RULES, largest_bytes=100_000, received_at_us=1)
        if isinstance(verdict, Refused):
            assert verdict.code != DEFECT, made.text
            assert not made.is_good, made.text
            continue
        kept = read_received_line(verdict.removesuffix(b"\n"))
        assert kept is not None
        found = read_request(kept.line, RULES)
        assert isinstance(found, ReadRequest), made.text
        assert not made.is_good or (found.custom_id, found.body) == (made.custom_id, made.body)
    proven(faults=count, requests=0, lost=0, double_paid=0)
