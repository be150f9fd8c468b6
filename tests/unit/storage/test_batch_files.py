import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories import (
    CHAT,
    INSTALLATION,
    Store,
    chat_line,
    chat_lines,
    read_lines,
    request_line,
)

from batching.errors import StopRequested
from batching.planning import BatchLimits
from batching.wire import RequestRef, decode_wire_id
from storage.batch_files import (
    batch_folder,
    input_path,
    remove_batch_files,
    remove_input_file,
)
from storage.batches import Batch

ODD_BODIES = [
    b'{"model":"gpt-4o-mini","messages":[],"seed":1,"seed":2}',
    b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}],"top_p":1e400}',
    b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}],"x":' + b"9" * 30 + b"}",
    '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"🙂 \u2028 \x7f é"}]}'.encode(),
    b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"\\ud83d\\ude42 \\u0000 \\/"}]}',
    b'{ "model" : "gpt-4o-mini" , "messages" : [ { "role" : "user" , "content" : "spaces" } ] }',
]


def odd_lines() -> list[bytes]:
    return [request_line(f"odd-{n}", CHAT, body) for n, body in enumerate(ODD_BODIES)]


def bodies(lines: list[bytes]) -> list[bytes]:
    """Return the bodies as they stand in the lines, found without any of our code."""
    return [line[line.index(b'"body":') + len(b'"body":') : -1] for line in lines]


def expected_file(store: Store, batch: Batch, bodies_at: dict[tuple[int, int], bytes]) -> bytes:
    places = store.rows(
        "SELECT segment, row_index FROM requests WHERE batch_id = ? ORDER BY segment, row_index",
        batch.batch_id,
    )
    parts = []
    for place in places:
        segment, row = place["segment"], place["row_index"]
        parts.append(f'{{"custom_id":"{INSTALLATION}-{segment}-{row}","method":"POST",'.encode())
        parts.append(b'"url":"/v1/chat/completions","body":' + bodies_at[segment, row] + b"}\n")
    return b"".join(parts)


def test_the_input_file_holds_every_body_byte_for_byte(store: Store) -> None:
    lines = odd_lines()
    store.take_in(lines)
    batch = store.claim()
    expected = expected_file(store, batch, {(1, n): body for n, body in enumerate(bodies(lines))})
    assert store.write_input(batch).read_bytes() == expected
    for line in expected.splitlines():
        assert decode_wire_id(INSTALLATION, json.loads(line)["custom_id"]) is not None


def test_rows_scattered_over_segments_come_in_order(store: Store) -> None:
    lines = [
        chat_line(f"id-{n}", model=("a", "b")[n % 3 == 0], text=f"text {n}") for n in range(50)
    ]
    store.take_in(lines, rows_a_segment=7)
    place = {(1 + n // 7, n % 7): body for n, body in enumerate(bodies(lines))}
    for _ in range(2):
        batch = store.claim()
        content = store.write_input(batch).read_bytes()
        assert content == expected_file(store, batch, place)
        assert content.count(b"\n") == batch.requests


def test_a_batch_of_many_row_groups_is_written_whole(store: Store) -> None:
    lines = chat_lines(25_000)
    store.take_in(lines)
    store.claim(limits=BatchLimits(requests=5_000, bytes=190_000_000, embedding_inputs=1))
    batch = store.claim()
    place = {(1, n): body for n, body in enumerate(bodies(lines))}
    assert store.write_input(batch).read_bytes() == expected_file(store, batch, place)


def test_files_are_written_again_the_same_after_a_crash(store: Store) -> None:
    store.take_in(odd_lines())
    batch = store.claim()
    first = store.write_input(batch).read_bytes()
    manifest = batch_folder(store.directory, batch.batch_id) / "manifest.parquet"
    written = pq.read_table(manifest)
    (input_path(store.directory, 1).with_name(".input.jsonl.tmp")).write_bytes(b"half")
    remove_input_file(store.directory, batch.batch_id)
    remove_input_file(store.directory, batch.batch_id)
    assert store.write_input(batch).read_bytes() == first
    assert pq.read_table(manifest).equals(written)
    names = {path.name for path in batch_folder(store.directory, 1).iterdir()}
    assert names == {"input.jsonl", "manifest.parquet"}


def test_the_manifest_tells_what_the_batch_holds_without_the_ledger(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.claim()
    store.write_input(batch)
    table = pq.read_table(batch_folder(store.directory, 1) / "manifest.parquet")
    assert table.schema.metadata[b"obm.installation"] == INSTALLATION.encode()
    assert table.schema.metadata[b"obm.batch_id"] == b"1"
    refs = [RequestRef(row["segment"], row["row_index"]) for row in table.to_pylist()]
    assert refs == [RequestRef(1, 0), RequestRef(1, 1), RequestRef(1, 2)]


def test_no_file_is_larger_than_what_was_counted_for_it(store: Store) -> None:
    lines = [*odd_lines(), *chat_lines(20)]
    store.take_in(lines)
    batch = store.claim()
    size = store.write_input(batch).stat().st_size
    assert size <= batch.bytes == sum(request.wire_bytes for request in read_lines(lines))


def test_an_interrupted_write_leaves_no_input_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise StopRequested

    store.take_in(chat_lines(3))
    batch = store.claim()
    monkeypatch.setattr("storage.batch_files.check_stop", stop)
    with pytest.raises(StopRequested):
        store.write_input(batch)
    assert not input_path(store.directory, batch.batch_id).exists()


def test_forgetting_a_batchs_files_twice_is_as_good_as_once(store: Store, tmp_path: Path) -> None:
    store.take_in(chat_lines(3))
    batch = store.claim()
    store.write_input(batch)
    remove_batch_files(store.directory, batch.batch_id)
    remove_batch_files(store.directory, batch.batch_id)
    assert not batch_folder(store.directory, batch.batch_id).exists()
    assert (tmp_path / "data" / "batches").exists()
