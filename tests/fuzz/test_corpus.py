"""Every input that once was read wrongly, and others worth keeping, one by one."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from factories import INSTALLATION, RULES, chat_line
from fuzzed_files import raw_of

from batching.errors import ProviderUnavailable
from batching.line_faults import RefusalCode, list_faults
from batching.outdated_requests import outdated_request
from batching.provider import read_batch
from batching.refusals import refusal_of
from batching.request_faults import request_faults
from batching.requests import ReadRequest, read_request
from batching.result_lines import Answer, OddLine, outcome_of, read_result_line
from clients.openai_answers import json_of
from receivers.rabbitmq_verdicts import DEFECT, Refused, judge
from storage.answer_files import OUTPUT, AnswerIndex, index_answers, write_odd_lines
from storage.directory import DataDirectory
from storage.intake_file import take_in
from storage.ledger import now
from storage.staging import ClaimedFile

CORPUS = Path(__file__).parent / "corpus"


def inputs(folder: str) -> list[object]:
    paths = sorted((CORPUS / folder).iterdir())
    assert paths
    return [pytest.param(path.read_bytes(), id=path.stem) for path in paths]


@pytest.mark.parametrize("line", inputs("lines"))
def test_a_line_is_accepted_without_a_fault_or_refused_with_one(line: bytes) -> None:
    found = read_request(line, RULES)

    if isinstance(found, ReadRequest):
        assert list_faults(line) == []
        assert found.body in line
    else:
        assert found.reason
        assert all(fault.reason for fault in request_faults(line, found))


@pytest.mark.parametrize("line", inputs("lines"))
def test_a_line_between_good_ones_ends_once_and_they_are_accepted(
    line: bytes, tmp_path: Path
) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    path = directory.claimed / "20261123T000000000-0000__file.jsonl"
    path.write_bytes(b"\n".join([chat_line("before"), line, chat_line("after"), b""]))
    claimed = ClaimedFile(source_id="s", name="file.jsonl", path=path, side_file=None)

    taken = take_in(directory, claimed, job="job", first_segment=1, rules=RULES, accepted_at=now())

    lines = [part for part in line.split(b"\n") if part and not part.isspace()]
    assert taken.accepted + taken.rejected == 2 + len(lines)
    assert taken.accepted >= 2
    refused = taken.rejected_lines.publish()
    records = [json.loads(text) for text in refused.read_bytes().splitlines()] if refused else []
    assert {raw_of(record) for record in records} <= {part.removesuffix(b"\r") for part in lines}
    assert len(records) == taken.rejected


@pytest.mark.parametrize("line", inputs("lines"))
def test_a_message_is_taken_or_refused_and_no_defect(line: bytes) -> None:
    verdict = judge(line, None, rules=RULES, largest_bytes=1_000_000, received_at_us=1)

    assert not isinstance(verdict, Refused) or verdict.code != DEFECT


@pytest.mark.parametrize("line", inputs("lines"))
def test_a_line_that_was_acknowledged_can_be_given_a_result(line: bytes) -> None:
    found = outdated_request(line)

    if found is not None:
        found.custom_id.encode()
        assert found.body == line
        assert found.wire_bytes == 0


@pytest.mark.parametrize("line", inputs("result_lines"))
def test_a_result_line_is_read_or_odd(line: bytes) -> None:
    found = read_result_line(line)

    if isinstance(found, OddLine):
        assert found.reason
        return
    assert json.loads(line[found.id_start : found.id_end]) == found.custom_id
    if outcome_of(found, batch_status="completed") is Answer.SUCCEEDED:
        assert found.status_code
        assert 200 <= found.status_code < 300


def test_a_surrogate_in_an_odd_place_does_not_hide_the_answer() -> None:
    line = (CORPUS / "result_lines" / "surrogate_where_a_number_is_meant.jsonl").read_bytes()
    found = read_result_line(line)

    assert not isinstance(found, OddLine)
    assert found.content == "fine"


@pytest.mark.parametrize("answer", inputs("batches"))
def test_an_answer_about_a_batch_is_storable_or_refused(answer: bytes) -> None:
    value = json_of(SimpleNamespace(http_response=SimpleNamespace(content=answer)))
    try:
        batch = read_batch(value)
    except ProviderUnavailable as error:
        str(error).encode()
        return
    repr((batch, refusal_of(batch.errors))).encode()
    for text in (batch.id, batch.status, *batch.metadata.values()):
        text.encode()
    for count in (batch.total, batch.completed, batch.failed):
        assert count is None or count < 2**31


@pytest.mark.parametrize("content", inputs("result_files"))
def test_a_result_file_is_read_to_its_end(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "output.jsonl"
    path.write_bytes(content)
    index = AnswerIndex()

    index_answers(index, path, file=OUTPUT, installation=INSTALLATION, batch_status="completed")

    lines = [part for part in content.split(b"\n") if part.strip()]
    frame = index.frame()
    assert frame.height + len(index.odd) in {len(lines), len(lines) - 1}
    for row in frame.iter_rows(named=True):
        line = content[row["offset"] : row["offset"] + row["length"]]
        assert not isinstance(read_result_line(line), OddLine)
    write_odd_lines(tmp_path / "odd.jsonl", {OUTPUT: path}, index.odd)
    assert len((tmp_path / "odd.jsonl").read_bytes().splitlines()) == len(index.odd)


def test_the_refusals_of_the_corpus_are_of_many_kinds() -> None:
    found = {
        refusal.code
        for path in (CORPUS / "lines").iterdir()
        if not isinstance(refusal := read_request(path.read_bytes(), RULES), ReadRequest)
    }

    assert len(found & set(RefusalCode)) >= 8
