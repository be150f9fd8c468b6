import json
from pathlib import Path

import pytest
from factories import Store, chat_lines, success_line

from storage import result_feed
from storage.result_feed import FeedResult, last_sequence, results_after
from storage.result_files import result_path

BEGINNING = (0, -1)


def after(
    store: Store, place: tuple[int, int], *, most: int = 100, job: str | None = None
) -> list[FeedResult]:
    with store.ledger.transaction() as reader:
        return results_after(store.directory, reader, place, most=most, job=job)


def ids(found: list[FeedResult]) -> list[str]:
    return [each.custom_id for each in found]


def answered(store: Store, job: str, count: int, *, content: str = "fine") -> Path:
    """Answer a job of so many requests `<job>-0`, …; return its result file."""
    store.take_in(chat_lines(count, prefix=job), name=job, source_id=job)
    batch = store.ended()
    store.collect(batch, [success_line(wire, content=content) for wire in store.wire_ids(batch)])
    return result_path(store.directory, batch.batch_id)


def test_results_come_in_the_order_in_which_they_were_recorded(store: Store) -> None:
    answered(store, "b", 2)
    answered(store, "a", 1)
    found = after(store, BEGINNING)
    assert [(each.job, each.custom_id) for each in found] == [
        ("b", "b-0"), ("b", "b-1"), ("a", "a-0"),
    ]  # fmt: skip
    assert [json.loads(each.line)["custom_id"] for each in found] == ids(found)


def test_a_page_goes_on_behind_the_last_result_wherever_that_was(store: Store) -> None:
    answered(store, "a", 3)
    answered(store, "b", 2)
    place, seen = BEGINNING, []
    while found := after(store, place, most=2):
        seen += ids(found)
        place = (found[-1].sequence, found[-1].row)
    assert seen == ["a-0", "a-1", "a-2", "b-0", "b-1"]
    assert after(store, place) == []


def test_a_page_ends_where_its_lines_become_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_feed, "PAGE_BYTES", 5_000)
    answered(store, "a", 3, content="x" * 3_000)
    assert ids(after(store, BEGINNING)) == ["a-0", "a-1"]


def test_of_one_job_all_comes_however_many_files_of_others_lie_between(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_feed, "_FILES_A_LOOK", 1)
    for job in ("a", "b", "c"):
        answered(store, job, 1)
    assert ids(after(store, BEGINNING, job="c")) == ["c-0"]
    assert after(store, BEGINNING, job="nobody") == []


def test_jobs_that_share_a_result_file_are_told_apart(store: Store) -> None:
    for job in ("a", "b"):
        store.take_in(chat_lines(2, prefix=job), name=job, source_id=job)
    store.answer_all(store.ended())
    assert ids(after(store, BEGINNING, job="b")) == ["b-0", "b-1"]
    assert len(after(store, BEGINNING)) == 4


def test_a_result_file_that_is_gone_is_passed_over(store: Store) -> None:
    first = answered(store, "a", 2)
    place = (after(store, BEGINNING)[0].sequence, 0)
    answered(store, "b", 1)
    first.unlink()
    assert ids(after(store, BEGINNING)) == ids(after(store, place)) == ["b-0"]


def test_the_end_of_the_feed_moves_with_each_result_file(store: Store) -> None:
    ends = []
    for job in ("a", "b"):
        with store.ledger.transaction() as reader:
            ends.append(last_sequence(reader))
        answered(store, job, 1)
    assert ends == [0, after(store, BEGINNING)[0].sequence]
