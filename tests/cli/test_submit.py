"""`obm submit`: files reach the inbox complete, once, and only if they can be taken in."""

import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Obm, RequestFile, Said
from factories import Store, chat_lines

from batching.jobs import JobSettings
from storage.health import HealthFile
from storage.ledger import now
from storage.source_bytes import content_hash
from storage.sources import SourceOutcome, SourceRecord, record_unused_source


def inbox(folder: Path) -> dict[str, bytes]:
    found = (folder / "data" / "staging" / "inbox").iterdir()
    return {path.name: path.read_bytes() for path in found}


def remember(store: Store, path: Path, *, job: str = "earlier") -> None:
    """Let the ledger know the content of a file as taken in."""
    store.take_in(chat_lines(1), name=job)
    store.run("UPDATE sources SET content_hash = ?", content_hash(path))


def test_files_lie_in_the_inbox_byte_for_byte(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    first, second = request_file("a.jsonl"), request_file("b.ndjson")
    assert obm("submit", first, second).code == 0
    assert inbox(folder) == {"a.jsonl": first.read_bytes(), "b.ndjson": second.read_bytes()}


def test_a_side_file_goes_along(obm: Obm, folder: Path, request_file: RequestFile) -> None:
    (folder / "a.job.json").write_text('{"max_wait_seconds": 5}')
    obm("submit", request_file("a.jsonl"))
    assert json.loads(inbox(folder)["a.job.json"]) == {"max_wait_seconds": 5}


def test_label_and_again_are_written_into_the_side_file(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    (folder / "a.job.json").write_text('{"max_wait_seconds": 5, "label": "old"}')
    obm("submit", request_file("a.jsonl"), "--label", "night", "--again")
    assert json.loads(inbox(folder)["a.job.json"]) == {
        "max_wait_seconds": 5, "label": "night", "again": True,
    }  # fmt: skip


def test_ingestion_understands_the_wish_to_run_again() -> None:
    assert JobSettings.model_validate_json('{"again": true}').again
    assert not JobSettings().again


def test_a_name_that_is_taken_in_the_inbox_gets_a_number(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    obm("submit", request_file("a.jsonl", 1))
    obm("submit", request_file("a.jsonl", 2), "--label", "x")
    assert sorted(inbox(folder)) == ["a-2.job.json", "a-2.jsonl", "a.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"x", "format"),
        ("a.jsonl", b"", "empty"),
        ("a.jsonl.gz", gzip.compress(b"x" * 10_000)[:-9], "cut off"),
    ],
)
def test_what_cannot_be_taken_in_is_refused(
    obm: Obm, folder: Path, name: str, content: bytes, reason: str
) -> None:
    (folder / name).write_bytes(content)
    said = obm("submit", folder / name)
    assert (said.code, reason in said.err) == (2, True)


def test_nothing_is_copied_if_one_file_cannot_be_taken_in(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    (folder / "bad.jsonl").write_text("")
    assert obm("submit", request_file("good.jsonl"), folder / "bad.jsonl").code == 2
    assert not (folder / "data").exists()


def test_a_missing_file_is_one_sentence(obm: Obm, folder: Path) -> None:
    said = obm("submit", "nowhere.jsonl")
    assert (said.code, said.err.count("\n"), "nowhere.jsonl" in said.err) == (2, 1, True)
    assert not (folder / "data").exists()


def test_a_side_file_with_faults_is_named(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    (folder / "a.job.json").write_text('{"max_wait": 5}')
    said = obm("submit", request_file("a.jsonl"))
    assert (said.code, "a.job.json" in said.err, "max_wait" in said.err) == (2, True, True)


def test_known_content_is_refused_with_its_job_whatever_its_name(
    obm: Obm, folder: Path, store: Store, request_file: RequestFile
) -> None:
    remember(store, request_file("a.jsonl"))
    (folder / "a.jsonl").rename(folder / "other.jsonl")
    said = obm("submit", folder / "other.jsonl")
    assert (said.code, "'earlier'" in said.err, "--again" in said.err) == (2, True, True)
    assert inbox(folder) == {}


def test_known_content_goes_again_when_it_is_asked_for(
    obm: Obm, folder: Path, store: Store, request_file: RequestFile
) -> None:
    remember(store, request_file("a.jsonl"))
    assert obm("submit", folder / "a.jsonl", "--again").code == 0
    assert sorted(inbox(folder)) == ["a.job.json", "a.jsonl"]


def test_the_same_content_twice_in_one_go_is_refused(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    path = request_file("a.jsonl")
    (folder / "b.jsonl").write_bytes(path.read_bytes())
    said = obm("submit", path, folder / "b.jsonl")
    assert (said.code, "b.jsonl" in said.err) == (2, True)


def test_a_label_and_again_together_are_warned_about(obm: Obm, request_file: RequestFile) -> None:
    said = obm("submit", request_file("a.jsonl"), "--again", "--label", "x")
    assert "leave the label out" in said.out


def test_it_says_whether_a_pipeline_is_there_to_take_it_in(
    obm: Obm, store: Store, request_file: RequestFile
) -> None:
    assert "No pipeline is running" in obm("submit", request_file("a.jsonl")).out
    HealthFile(store.directory.health, "pipeline").report("running")
    assert "No pipeline" not in obm("submit", request_file("b.jsonl")).out


def test_waiting_ends_when_time_is_over_and_says_what_is_open(
    obm: Obm, request_file: RequestFile
) -> None:
    said = obm("submit", request_file("a.jsonl"), "--wait", "--timeout", "0.1")
    assert said.code == 4
    assert "1 file(s) are not taken in yet" in said.err
    assert "no pipeline is running" in said.err


def test_waiting_ends_with_success_when_the_job_is_complete(
    obm: Obm, store: Store, request_file: RequestFile
) -> None:
    def complete() -> None:
        store.take_in(chat_lines(2), name="a.jsonl")
        store.answer_all(store.ended())
        store.deliver()
        store.run("UPDATE jobs SET completed_at = ?", now())

    assert waited(obm, request_file, complete).code == 0


def test_waiting_tells_that_requests_failed(
    obm: Obm, store: Store, request_file: RequestFile
) -> None:
    def fail() -> None:
        store.take_in(chat_lines(2), name="a.jsonl")
        store.run("UPDATE requests SET state = 'failed', result_id = 1")
        store.run("UPDATE jobs SET completed_at = ?", now())

    said = waited(obm, request_file, fail)
    assert (said.code, "2 requests ended without success" in said.out) == (3, True)


def test_waiting_ends_when_the_file_is_rejected(
    obm: Obm, store: Store, request_file: RequestFile
) -> None:
    def reject() -> None:
        source = SourceRecord(
            source_id="s1", part=1, name="a.jsonl", content_hash="", start_offset=0,
            end_offset=0, end_line=0, accepted=0, rejected=0,
        )  # fmt: skip
        record_unused_source(
            store.ledger, source, outcome=SourceOutcome.REJECTED, reason="it is a spreadsheet"
        )

    said = waited(obm, request_file, reject)
    assert (said.code, "it is a spreadsheet" in said.out) == (3, True)


def waited(obm: Obm, request_file: RequestFile, happening: Callable[[], None]) -> Said:
    """Submit and wait while something happens to the file."""
    path = request_file("a.jsonl")
    place = path.parent / "data" / "staging" / "inbox" / path.name

    def when_it_lies_there() -> None:
        while not place.exists():
            time.sleep(0.02)
        happening()

    thread = threading.Thread(target=when_it_lies_there)
    thread.start()
    try:
        return obm("submit", path, "--wait", "--timeout", "30")
    finally:
        thread.join()
