import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batching.errors import BadInput
from batching.jobs import JobSettings
from batching.requests import ReadingRules, ReadRequest, Refusal, read_request
from storage.formats import lines_at, read_chunks
from storage.source_bytes import SourceBytes, content_hash
from storage.text_formats import Chunk

CHAT = "/v1/chat/completions"
ODD_BODY = (
    '{ "model":"m", "messages":["é\u2028😀"], '
    '"seed":123456789012345678901234567890, "a":1e400, "a":0.10}'
)


def csv_file(folder: Path, rows: list[list[str]], *, bom: bool = False) -> Path:
    path = folder / "x.csv"
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    return path


def parquet_file(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = folder / "x.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def chunks_of(path: Path, settings: JobSettings | None = None) -> list[Chunk]:
    with SourceBytes(path) as source:
        return list(read_chunks(path, source, settings or JobSettings()))


def read(path: Path, settings: JobSettings | None = None) -> dict[int, ReadRequest | Refusal]:
    found: dict[int, ReadRequest | Refusal] = {}
    for chunk in chunks_of(path, settings):
        for number, line in zip(chunk.numbers, chunk.lines, strict=True):
            found[number] = read_request(line, ReadingRules())
        found |= {line.number: line.refusal for line in chunk.refused}
    return found


def requests_of(path: Path, settings: JobSettings | None = None) -> list[ReadRequest]:
    found = list(read(path, settings).values())
    assert all(isinstance(request, ReadRequest) for request in found), found
    return [request for request in found if isinstance(request, ReadRequest)]


def codes_of(path: Path, settings: JobSettings | None = None) -> dict[int, str]:
    found = read(path, settings)
    return {n: str(r.code) if isinstance(r, Refusal) else "ok" for n, r in found.items()}


def bodies_of(path: Path, settings: JobSettings) -> list[Any]:
    return [json.loads(request.body) for request in requests_of(path, settings)]


@pytest.mark.parametrize("url_column", ["url", "endpoint", " URL "])
@pytest.mark.parametrize("kind", ["csv", "csv with BOM", "parquet"])
def test_a_body_column_passes_byte_for_byte(tmp_path: Path, kind: str, url_column: str) -> None:
    if kind == "parquet":
        path = parquet_file(tmp_path, {"custom_id": ["a"], url_column: [CHAT], "body": [ODD_BODY]})
    else:
        rows = [["custom_id", url_column, "body"], ["a", CHAT, ODD_BODY]]
        path = csv_file(tmp_path, rows, bom=kind == "csv with BOM")
    (request,) = requests_of(path)
    assert request.body == ODD_BODY.encode()
    assert (request.custom_id, request.url, request.model) == ("a", CHAT, "m")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([ODD_BODY]),
        pa.array([ODD_BODY], pa.large_string()),
        pa.array([ODD_BODY.encode()]),
        pa.array([ODD_BODY]).dictionary_encode(),
    ],
)
def test_parquet_text_of_any_type_is_read(tmp_path: Path, column: Any) -> None:
    path = parquet_file(tmp_path, {"custom_id": ["a"], "url": [CHAT], "body": column})
    assert requests_of(path)[0].body == ODD_BODY.encode()


def test_line_breaks_outside_strings_become_spaces(tmp_path: Path) -> None:
    body = '{\n  "model": "m",\n  "messages": ["x"]\n}'
    path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, body]])
    assert requests_of(path)[0].body == body.replace("\n", " ").encode()


def test_a_line_break_inside_a_string_is_not_json_and_stays_refused(tmp_path: Path) -> None:
    body = '{"model":"m","messages":["a\nb"]}'
    path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, body]])
    assert codes_of(path) == {2: "invalid_body"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "invalid_body"),
        ('{"model":"m","messages":[]},"custom_id":"b"', "invalid_body"),
        ('"text"', "invalid_body"),
        ("", "invalid_body"),
        ('{"messages":[]}', "missing_model"),
    ],
)
def test_a_faulty_body_cell_is_refused(tmp_path: Path, body: str, code: str) -> None:
    path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, body]])
    assert codes_of(path) == {2: code}


def test_the_model_column_completes_a_body_that_names_none(tmp_path: Path) -> None:
    header = ["custom_id", "url", "model", "body"]
    same, other = '{"model":"m","input":"x"}', '{"model":"other","input":"x"}'
    rows = [["a", '{"input":"x"}'], ["b", same], ["c", other], ["d", " {} "]]
    url = "/v1/moderations"
    path = csv_file(tmp_path, [header, *([custom_id, url, "m", body] for custom_id, body in rows)])
    found = read(path)
    first, second = found[2], found[3]
    assert isinstance(first, ReadRequest)
    assert first.body == b'{"model":"m","input":"x"}'
    assert isinstance(second, ReadRequest)
    assert second.body == same.encode()
    assert codes_of(path) == {2: "ok", 3: "ok", 4: "invalid_body", 5: "missing_input"}


@pytest.mark.parametrize("column", ["prompt", "input", "Prompt", "question"])
@pytest.mark.parametrize(
    ("url", "content"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "Hi, ü"}]}),
        ("/v1/responses", {"input": "Hi, ü"}),
        ("/v1/embeddings", {"input": "Hi, ü"}),
        ("/v1/moderations", {"input": "Hi, ü"}),
        ("/v1/completions", {"prompt": "Hi, ü"}),
        ("/v1/images/generations", {"prompt": "Hi, ü"}),
        ("/v1/images/edits", {"prompt": "Hi, ü"}),
    ],
)
def test_a_prompt_column_builds_the_body_of_each_endpoint(
    tmp_path: Path, column: str, url: str, content: dict[str, Any]
) -> None:
    path = csv_file(tmp_path, [["custom_id", column], ["a", "Hi, ü"]])
    settings = JobSettings(
        url=url,
        model="m",
        parameters={"seed": 7},
        prompt_column="question" if column == "question" else None,
    )
    assert bodies_of(path, settings) == [{"model": "m", "seed": 7, **content}]


def test_a_system_text_and_columns_win_over_defaults(tmp_path: Path) -> None:
    path = parquet_file(
        tmp_path,
        {"custom_id": ["a", "b"], "prompt": ["x", "y"], "model": ["own", None], "note": [1, 2]},
    )
    settings = JobSettings(url=CHAT, model="m", system="Be brief")
    first, second = bodies_of(path, settings)
    assert first["messages"][0] == {"role": "system", "content": "Be brief"}
    assert (first["model"], second["model"]) == ("own", "m")


def test_rows_are_numbered_by_their_first_line_in_csv(tmp_path: Path) -> None:
    rows = [["custom_id", "prompt"], ["a", "one\ntwo\nthree"], ["", "x"], ["c", "y"]]
    settings = JobSettings(url=CHAT, model="m")
    assert codes_of(csv_file(tmp_path, rows), settings) == {
        2: "ok",
        5: "invalid_custom_id",
        6: "ok",
    }


def test_rows_are_counted_from_one_in_parquet(tmp_path: Path) -> None:
    path = parquet_file(
        tmp_path, {"custom_id": ["a", None, "c"], "prompt": ["x", "y", None]}, row_group_size=2
    )
    settings = JobSettings(url=CHAT, model="m")
    assert codes_of(path, settings) == {1: "ok", 2: "invalid_custom_id", 3: "invalid_body"}


def test_ids_may_be_whole_numbers_in_parquet_but_not_fractions(tmp_path: Path) -> None:
    settings = JobSettings(url=CHAT, model="m")
    path = parquet_file(tmp_path, {"custom_id": [7], "prompt": ["x"]})
    assert requests_of(path, settings)[0].custom_id == "7"
    path = parquet_file(tmp_path, {"custom_id": [7.5], "prompt": ["x"]})
    assert codes_of(path, settings) == {1: "invalid_custom_id"}


def test_rows_are_named_by_place_only_on_request(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"prompt": ["x", "y"]})
    settings = JobSettings(url=CHAT, model="m", custom_id="row")
    assert [request.custom_id for request in requests_of(path, settings)] == ["row-1", "row-2"]
    with pytest.raises(BadInput, match="custom_id"):
        chunks_of(path, JobSettings(url=CHAT, model="m"))


def test_other_columns_can_be_named_in_the_side_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [["Key", "To", "What"], ["a", "/v1/embeddings", "text"]])
    settings = JobSettings(custom_id_column="key", url_column="to", prompt_column="what", model="m")
    (request,) = requests_of(path, settings)
    assert (request.custom_id, request.url) == ("a", "/v1/embeddings")


def test_a_delivery_config_column_is_json_text(tmp_path: Path) -> None:
    header = ["custom_id", "prompt", "delivery_config"]
    rows = [["a", "x", '{"type":"file"}'], ["b", "x", ""], ["c", "x", "{"], ["d", "x", "{}"]]
    path = csv_file(tmp_path, [header, *rows])
    assert codes_of(path, JobSettings(url=CHAT, model="m")) == {
        2: "ok",
        3: "ok",
        4: "invalid_destination",
        5: "invalid_destination",
    }


def test_bytes_that_are_no_utf8_are_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"custom_id,prompt\na,caf\xe9\nb,fine\n")
    assert codes_of(path, JobSettings(url=CHAT, model="m")) == {2: "invalid_utf8", 3: "ok"}


def test_a_row_with_too_few_or_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [["custom_id", "prompt"], ["a"], ["b", "x", "y"], [], ["c", "z"]])
    assert codes_of(path, JobSettings(url=CHAT, model="m")) == {
        2: "invalid_row",
        3: "invalid_row",
        5: "ok",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("custom_id;prompt\na;x\n", "commas"),
        ("custom_id,prompt,prompt\na,x,y\n", "twice"),
        ("prompt\nx\n", "custom_id"),
        ("custom_id\na\n", "prompt"),
        ('custom_id,prompt\na,"never closed\nb,x\n', "line"),
        ('custom_id,prompt\na,"x"y\n', "line 2"),
    ],
)
def test_a_csv_file_that_cannot_be_understood_is_refused_as_a_whole(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        chunks_of(path, JobSettings(url=CHAT, model="m"))


def test_what_a_table_lacks_is_named_at_once(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [["text"], ["x"]])
    with pytest.raises(BadInput) as caught:
        chunks_of(path)
    for words in ("custom_id", "prompt", "no column url", "no column model", "columns: text"):
        assert words in str(caught.value)


def test_parameters_do_not_go_with_given_bodies(tmp_path: Path) -> None:
    path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, ODD_BODY]])
    with pytest.raises(BadInput, match="parameters"):
        chunks_of(path, JobSettings(parameters={"seed": 1}))


@pytest.mark.parametrize("kept_bytes", [0, 3, 50, -1, -9])
def test_a_cut_parquet_file_is_refused_as_a_whole(tmp_path: Path, kept_bytes: int) -> None:
    path = parquet_file(tmp_path, {"custom_id": ["a"], "url": [CHAT], "body": [ODD_BODY]})
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(BadInput, match="Parquet file is cut off or damaged"):
        chunks_of(path)


def test_a_parquet_file_damaged_in_the_middle_is_refused_as_a_whole(tmp_path: Path) -> None:
    columns = {"custom_id": [f"id-{n}" for n in range(5_000)], "prompt": ["x" * 50] * 5_000}
    path = parquet_file(tmp_path, columns, compression="zstd")
    data = bytearray(path.read_bytes())
    data[200:6_000] = b"\0" * 5_800
    path.write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        chunks_of(path, JobSettings(url=CHAT, model="m"))


def test_a_column_of_structs_is_refused_with_advice(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"custom_id": ["a"], "url": [CHAT], "body": [{"model": "m"}]})
    with pytest.raises(BadInput, match="JSON text"):
        chunks_of(path)


def test_cells_of_ten_megabytes_pass(tmp_path: Path) -> None:
    body = '{"model":"m","messages":["' + "x" * 10_000_000 + '"]}'
    path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, body]])
    assert requests_of(path)[0].body == body.encode()


def test_the_hash_of_a_table_is_that_of_the_whole_file(tmp_path: Path) -> None:
    csv_path = csv_file(tmp_path, [["custom_id", "url", "body"], ["a", CHAT, ODD_BODY]])
    parquet = parquet_file(tmp_path, {"custom_id": ["a"], "url": [CHAT], "body": [ODD_BODY]})
    for path in (csv_path, parquet):
        with SourceBytes(path) as source:
            list(read_chunks(path, source, JobSettings()))
            assert source.offset == path.stat().st_size
            assert source.content_hash == content_hash(path)


def test_rows_are_fetched_by_their_numbers(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"custom_id": ["a", "b"], "prompt": ["x", "y"]})
    found = lines_at(path, [2], JobSettings(url=CHAT, model="m"))
    assert json.loads(found[2])["custom_id"] == "b"
