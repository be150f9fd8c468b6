from pathlib import Path

import numpy as np
import pytest
from factories import (
    ACCOUNT,
    Store,
    chat_line,
    chat_lines,
    embedding_line,
    read_lines,
    write_segments,
)

from batching.errors import BadInput
from batching.jobs import JobSettings
from storage.ledger import now
from storage.repeats import find_repeats
from storage.segments import segment_path
from storage.sources import (
    JobChoice,
    SourceOutcome,
    SourceRecord,
    choose_job,
    forget_unrecorded_segments,
    next_segment,
    progress_of,
    recent_sources,
    record_source,
    record_unused_source,
    seen_before,
)


def choose(store: Store, stem: str, source_id: str = "new", label: str | None = None) -> JobChoice:
    return choose_job(
        store.ledger, stem=stem, settings=JobSettings(label=label), source_id=source_id
    )


def source_row(store: Store, source_id: str) -> dict[str, object]:
    (row,) = store.rows("SELECT * FROM sources WHERE source_id = ?", source_id)
    return row


def unused(source_id: str = "s9") -> SourceRecord:
    return SourceRecord(
        source_id=source_id, part=1, name="x.jsonl", content_hash="h", start_offset=0,
        end_offset=0, end_line=0, accepted=0, rejected=0,
    )  # fmt: skip


def test_a_source_brings_its_requests_their_lanes_and_a_job(store: Store) -> None:
    job_id = store.take_in([*chat_lines(2), embedding_line("e", inputs=3)], name="day 1")
    requests = store.rows("SELECT * FROM requests ORDER BY row_index")
    assert [row["custom_id"] for row in requests] == ["id-0", "id-1", "e"]
    assert {row["state"] for row in requests} == {"pending"}
    assert [row["embedding_inputs"] for row in requests] == [0, 0, 3]
    assert all(row["job_id"] == job_id for row in requests)
    lanes = store.rows("SELECT account, endpoint, model FROM lanes ORDER BY endpoint")
    assert [(lane["endpoint"], lane["model"]) for lane in lanes] == [
        ("/v1/chat/completions", "gpt-4o-mini"),
        ("/v1/embeddings", "small"),
    ]
    (job,) = store.rows("SELECT * FROM jobs")
    assert (job["name"], job["slug"], job["label"]) == ("day 1", "day-1", None)
    (segment,) = store.rows("SELECT * FROM segments")
    assert (segment["segment"], segment["rows"]) == (1, 3)


def test_recording_the_same_source_again_changes_nothing(store: Store) -> None:
    requests = read_lines(chat_lines(5))
    segments = write_segments(store.directory, requests, first_segment=1, source_id="s1")
    job = choose(store, "job", "s1")
    first = store.record(requests, segments, job=job)
    before = store.rows("SELECT * FROM requests"), store.rows("SELECT * FROM sources")
    assert store.record(requests, segments, job=job) == first
    assert (store.rows("SELECT * FROM requests"), store.rows("SELECT * FROM sources")) == before
    assert store.value("SELECT count(*) FROM jobs") == 1


def test_a_crash_before_recording_is_made_good_by_doing_it_all_again(store: Store) -> None:
    requests = read_lines(chat_lines(5))
    write_segments(store.directory, requests, first_segment=1, source_id="s1")
    assert next_segment(store.ledger, store.directory.segments) == 2
    store.take_in(chat_lines(5))
    assert store.states() == {"pending": 5}
    assert store.value("SELECT min(segment) FROM requests") == 2


def test_an_error_while_recording_leaves_no_trace(store: Store) -> None:
    requests = read_lines(chat_lines(5))
    segments = write_segments(
        store.directory, requests, first_segment=1, source_id="s1", rows_a_segment=3
    )
    segments[1].path.unlink()
    with pytest.raises(BadInput, match=segments[1].path.name):
        record_source(
            store.ledger, unused("s1"), job=JobChoice(name="job", job_id=None),
            settings=JobSettings(), account=ACCOUNT, segments=segments, repeats=[],
        )  # fmt: skip
    tables = ("jobs", "sources", "segments", "requests", "lanes")
    assert [store.value(f"SELECT count(*) FROM {table}") for table in tables] == [0] * 5


def test_a_stem_that_is_taken_gets_the_next_number(store: Store) -> None:
    names = []
    for number in range(3):
        names.append(choose(store, "report", f"s{number}").name)
        store.take_in(chat_lines(1), name="report", source_id=f"s{number}")
    assert names == ["report", "report-2", "report-3"]


def test_names_that_would_share_a_folder_are_told_apart(store: Store) -> None:
    store.take_in(chat_lines(1), name="Day 1", source_id="s1")
    assert choose(store, "day-1").name == "day-1-2"
    store.take_in(chat_lines(1), name="日本語", source_id="s2")
    assert choose(store, "中文").name == "中文-2"


@pytest.mark.parametrize("stem", ["x" * 200, "x" * 79 + "2", "½" * 100])
def test_long_names_find_a_free_folder_too(store: Store, stem: str) -> None:
    for number in range(4):
        store.take_in(chat_lines(1), name=stem, source_id=f"s{number}")
    slugs = [row["slug"] for row in store.rows("SELECT slug FROM jobs")]
    assert len(set(slugs)) == 4
    assert all(len(slug) <= 80 for slug in slugs)


def test_sources_of_one_label_join_one_job(store: Store) -> None:
    label = JobSettings(label="nightly")
    first = store.take_in(chat_lines(2, prefix="a"), name="x", settings=label, source_id="s1")
    second = store.take_in(chat_lines(2, prefix="b"), name="y", settings=label, source_id="s2")
    assert first == second
    assert choose(store, "x").name == "x"
    assert choose(store, "nightly").name == "nightly-2"


def test_a_label_does_not_join_a_job_that_a_file_gave_its_name(store: Store) -> None:
    store.take_in(chat_lines(2), name="nightly")
    assert choose(store, "x", label="nightly") == JobChoice(name="nightly-2", job_id=None)


def test_a_source_that_has_grown_stays_with_its_job(store: Store) -> None:
    job_id = store.take_in(chat_lines(2), name="log", source_id="s1")
    store.take_in(chat_lines(1, prefix="more"), name="log", source_id="s1", part=2)
    assert choose(store, "log", "s1") == JobChoice(name="log", job_id=job_id)
    assert store.value("SELECT count(*) FROM requests WHERE job_id = ?", job_id) == 3
    progress = progress_of(store.ledger, "s1")
    assert (progress.parts, progress.end_offset, progress.end_line) == (2, 100, 2)


def test_a_source_that_is_new_has_made_no_progress(store: Store) -> None:
    progress = progress_of(store.ledger, "s1")
    assert (progress.parts, progress.end_offset, progress.end_line) == (0, 0, 0)


def test_a_further_source_reopens_its_job_and_an_empty_one_does_not(store: Store) -> None:
    label = JobSettings(label="nightly")
    store.take_in(chat_lines(2), settings=label, source_id="s1")
    store.run("UPDATE jobs SET completed_at = ?", now())
    store.take_in([], settings=label, source_id="s2")
    store.take_in(chat_lines(2), settings=label, source_id="s3")
    assert store.value("SELECT completed_at FROM jobs") is not None
    store.take_in(chat_lines(3), settings=label, source_id="s4")
    assert store.value("SELECT completed_at FROM jobs") is None


def test_an_id_that_stands_twice_in_a_source_is_taken_once(store: Store) -> None:
    lines = [chat_line("a"), chat_line("b"), chat_line("a"), chat_line("a", text="other")]
    requests = read_lines(lines)
    segments = write_segments(
        store.directory, requests, first_segment=1, source_id="s1", rows_a_segment=3
    )
    hashes = np.array([request.id_hash for request in requests], np.uint64)
    repeats = find_repeats(store.ledger, segments, id_hashes=hashes, job_id=None)
    found = [(r.line, r.same_payload, r.earlier_line, r.is_replay) for r in repeats]
    assert found == [(3, True, 1, False), (4, False, 1, False)]
    store.record(requests, segments, job=choose(store, "job"))
    assert [row["custom_id"] for row in store.rows("SELECT custom_id FROM requests")] == ["a", "b"]
    row = source_row(store, "s1")
    assert (row["accepted"], row["rejected"], row["repeated"]) == (2, 2, 0)


def test_an_id_of_an_earlier_source_is_a_replay_or_refused(store: Store) -> None:
    label = JobSettings(label="nightly")
    store.take_in([chat_line("a"), chat_line("b")], settings=label, source_id="s1")
    lines = [chat_line("a"), chat_line("b", text="other"), chat_line("c"), chat_line("a")]
    store.take_in(lines, settings=label, source_id="s2")
    row = source_row(store, "s2")
    assert (row["accepted"], row["rejected"], row["repeated"]) == (1, 1, 2)
    requests = store.rows("SELECT custom_id, segment, row_index FROM requests ORDER BY ALL")
    assert [tuple(request.values()) for request in requests] == [
        ("a", 1, 0),
        ("b", 1, 1),
        ("c", 2, 2),
    ]


def test_the_same_id_in_another_job_is_nothing_special(store: Store) -> None:
    store.take_in(chat_lines(3), name="one", source_id="s1")
    store.take_in(chat_lines(3), name="two", source_id="s2")
    assert store.states() == {"pending": 6}


def test_ids_of_one_hash_are_told_apart_by_their_text(store: Store) -> None:
    requests = read_lines(chat_lines(3))
    segments = write_segments(store.directory, requests, first_segment=1, source_id="s1")
    same = np.full(3, 7, np.uint64)
    assert find_repeats(store.ledger, segments, id_hashes=same, job_id=None) == []


def test_a_source_without_requests_is_recorded_too(store: Store) -> None:
    job_id = store.take_in([], name="empty")
    assert store.states() == {}
    assert source_row(store, "s1")["job_id"] == job_id


def test_repeats_among_many_requests_are_found_exactly(store: Store) -> None:
    count = 200_000
    lines = [chat_line(f"id-{number % (count - 137)}") for number in range(count)]
    store.take_in(lines, rows_a_segment=70_000)
    assert store.value("SELECT count(*) FROM requests") == count - 137
    assert store.value("SELECT count(DISTINCT custom_id) FROM requests") == count - 137
    row = source_row(store, "s1")
    assert (row["accepted"], row["rejected"], row["repeated"]) == (count - 137, 137, 0)


def test_a_segment_number_is_never_used_twice(store: Store) -> None:
    folder = store.directory.segments
    assert next_segment(store.ledger, folder) == 1
    store.take_in(chat_lines(3), rows_a_segment=1)
    assert next_segment(store.ledger, folder) == 4
    for number in (1, 2, 3):
        segment_path(folder, number).unlink()
    assert next_segment(store.ledger, folder) == 4
    Path(segment_path(folder, 1_000_001)).touch()
    (folder / ".000009.parquet.tmp").touch()
    (folder / "notes.parquet").touch()
    assert next_segment(store.ledger, folder) == 1_000_002


def test_content_that_was_taken_in_is_recognised_in_another_source_only(store: Store) -> None:
    store.take_in(chat_lines(1), name="first", source_id="s1")
    known = "hash of s1"
    assert seen_before(store.ledger, content_hash=known, source_id="s2") == "first"
    assert seen_before(store.ledger, content_hash=known, source_id="s1") is None
    assert seen_before(store.ledger, content_hash="other", source_id="s2") is None


def test_a_source_that_could_not_be_used_is_remembered_once_with_its_reason(store: Store) -> None:
    for _ in range(2):
        record_unused_source(
            store.ledger, unused(), outcome=SourceOutcome.REJECTED, reason="cut off"
        )
    row = source_row(store, "s9")
    assert (row["outcome"], row["reason"], row["job_id"]) == ("rejected", "cut off", None)
    assert seen_before(store.ledger, content_hash="h", source_id="s2") is None


def test_recent_sources_tell_how_far_they_were_read(store: Store) -> None:
    started = now()
    store.take_in(chat_lines(1), name="log.jsonl", source_id="s1")
    store.take_in(chat_lines(1, prefix="b"), name="log.jsonl", source_id="s1", part=2)
    record_unused_source(store.ledger, unused(), outcome=SourceOutcome.REJECTED, reason="cut off")
    with store.ledger.transaction() as reader:
        assert recent_sources(reader, since=started) == [
            {"source_id": "s1", "name": "log.jsonl", "end_offset": 100}
        ]
        assert recent_sources(reader, since=now()) == []


def test_segments_that_a_crash_left_are_deleted_but_not_those_of_other_sources(
    store: Store,
) -> None:
    folder = store.directory.segments
    store.take_in(chat_lines(1), source_id="s1")
    for number, source_id in ((2, "s2"), (3, "s2"), (4, "s22")):
        write_segments(
            store.directory, read_lines(chat_lines(1)), first_segment=number, source_id=source_id
        )
    assert forget_unrecorded_segments(store.ledger, folder, source_id="s2") == 2
    assert forget_unrecorded_segments(store.ledger, folder, source_id="s2") == 0
    assert forget_unrecorded_segments(store.ledger, folder, source_id="s1") == 0
    assert sorted(path.stem for path in folder.glob("*.parquet")) == ["000001", "000004"]
