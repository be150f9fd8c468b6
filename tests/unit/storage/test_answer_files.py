import json
from pathlib import Path

import pytest
from factories import INSTALLATION, failure_line, not_run_line, success_line

from storage import answer_files
from storage.answer_files import ERROR, OUTPUT, AnswerIndex, index_answers, write_odd_lines


def wire(row: int) -> str:
    return f"{INSTALLATION}-1-{row}"


def indexed(path: Path, content: bytes, *, status: str = "completed") -> AnswerIndex:
    path.write_bytes(content)
    index = AnswerIndex()
    index_answers(index, path, file=OUTPUT, installation=INSTALLATION, batch_status=status)
    return index


def test_each_line_is_found_where_it_stands_with_what_it_says(tmp_path: Path) -> None:
    lines = [success_line(wire(0), tokens=7), failure_line(wire(1)), not_run_line(wire(2))]
    path = tmp_path / "output.jsonl"
    index = indexed(path, b"\n".join(lines) + b"\n")
    frame = index.frame()
    content = path.read_bytes()
    for row, line in zip(frame.iter_rows(named=True), lines, strict=True):
        assert content[row["offset"] : row["offset"] + row["length"]] == line
    assert frame["row_index"].to_list() == [0, 1, 2]
    assert frame["outcome"].to_list() == ["succeeded", "failed", "not_run"]
    assert frame["status_code"].to_list() == [200, 400, None]
    assert frame["input_tokens"].to_list() == [7, None, None]
    assert frame["error_code"].to_list() == [None, "invalid_value", "batch_expired"]
    assert index.odd == []


@pytest.mark.parametrize(
    "content",
    [
        b"A\r\nB\r\n",
        b"A\n\n  \n\r\nB",
        b"\xef\xbb\xbfA\nB\n",
        b"\nA\nB\n\n",
    ],
    ids=["crlf", "blank lines and no final newline", "byte order mark", "blank first and last"],
)
def test_line_ends_do_not_change_what_a_line_is(tmp_path: Path, content: bytes) -> None:
    first, second = success_line(wire(0)), success_line(wire(1))
    path = tmp_path / "output.jsonl"
    index = indexed(path, content.replace(b"A", first).replace(b"B", second))
    raw = path.read_bytes()
    found = [
        raw[row["offset"] : row["offset"] + row["length"]]
        for row in index.frame().iter_rows(named=True)
    ]
    assert found == [first, second]
    assert index.odd == []


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
def test_lines_longer_than_a_slice_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(answer_files, "SLICE_BYTES", size)
    lines = [success_line(wire(row), content="x" * 50 * row) for row in range(5)]
    frame = indexed(tmp_path / "output.jsonl", b"\n".join(lines)).frame()
    assert frame["length"].to_list() == [len(line) for line in lines]
    assert frame["row_index"].to_list() == [0, 1, 2, 3, 4]


def test_lines_that_fit_no_request_are_kept_with_their_reason_and_stop_nothing(
    tmp_path: Path,
) -> None:
    odd = {
        b"not json": "JSON",
        b"[1]": "not a JSON object",
        b'{"id":"x"}': "no custom_id",
        b'{"custom_id":7}': "no custom_id",
        b'{"custom_id":"somebody-else"}': "none of this installation",
        success_line("beef0123-1-1"): "none of this installation",
        b'{"custom_id":"\xff"}': "UTF-8",
        b"[" * 100_000: "JSON",
    }
    path = tmp_path / "output.jsonl"
    good = success_line(wire(1))
    index = indexed(path, b"\n".join([*odd, good]))
    assert index.frame()["row_index"].to_list() == [1]
    for record, (raw, reason) in zip(index.odd, odd.items(), strict=True):
        assert record.length == len(raw)
        assert reason in record.reason, record
    target = tmp_path / "odd_lines.jsonl"
    write_odd_lines(target, {OUTPUT: path, ERROR: path}, index.odd)
    kept = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert [entry["raw"].encode() for entry in kept if "\\xff" not in entry["raw"]] == [
        raw for raw in odd if b"\xff" not in raw
    ]
    assert {entry["file"] for entry in kept} == {"output"}


@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens":5000000000,"completion_tokens":1}',
        '{"prompt_tokens":123456789012345678901234567890,"completion_tokens":1}',
        '{"prompt_tokens":-5,"completion_tokens":1}',
        '{"prompt_tokens":"7","completion_tokens":1}',
        '{"prompt_tokens":1e400,"completion_tokens":1}',
    ],
)
def test_token_counts_that_nobody_can_have_counted_stop_nothing(tmp_path: Path, usage: str) -> None:
    line = success_line(wire(0)).replace(
        b'{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}', usage.encode()
    )
    assert usage.encode() in line
    frame = indexed(tmp_path / "output.jsonl", line).frame()
    assert frame["outcome"].to_list() == ["succeeded"]
    assert frame["input_tokens"].to_list() in ([None], [0])
    assert frame["output_tokens"].to_list() in ([1], [None])


@pytest.mark.parametrize("status", ["70000", "1e3", "-200", "10000000000000000000000"])
def test_a_status_that_is_none_stops_nothing(tmp_path: Path, status: str) -> None:
    line = failure_line(wire(0)).replace(b'"status_code": 400', f'"status_code": {status}'.encode())
    frame = indexed(tmp_path / "output.jsonl", line).frame()
    assert frame.height == 1
    assert frame["status_code"].to_list() == [None]


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    index = indexed(tmp_path / "output.jsonl", b"")
    assert index.frame().height == 0
    assert index.frame().schema["segment"] == indexed(
        tmp_path / "output.jsonl", success_line(wire(0))
    ).frame().schema["segment"]  # fmt: skip
    assert index.odd == []
