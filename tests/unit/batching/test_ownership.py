from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batching.ownership import (
    Owner,
    Stamp,
    input_file_name,
    match_create,
    owner_of_batch,
    owner_of_file,
    read_stamp,
)
from batching.provider import ProviderBatch, ProviderFile, read_batch

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ANY_ATTEMPT = Stamp(installation="cafe0123", batch_id=7, attempt=0)


def listed(name: str, *, attempt: int = 1, hours: float = 1, **changes: Any) -> ProviderBatch:
    stamp = Stamp(installation="cafe0123", batch_id=7, attempt=attempt)
    created_at = (SINCE + timedelta(hours=hours)).timestamp()
    known = {"id": name, "status": "in_progress", "metadata": stamp.as_metadata()}
    return read_batch(known | {"created_at": int(created_at)} | changes)


def test_a_stamp_is_read_back_as_it_was_written() -> None:
    stamp = Stamp(installation="cafe0123", batch_id=12, attempt=3)
    assert read_stamp(stamp.as_metadata()) == stamp


@pytest.mark.parametrize(
    "metadata",
    [{}, {"obm_batch": "1"}, {"obm_installation": "a", "obm_batch": "x"},
     {"obm_installation": "", "obm_batch": "1"}],
)  # fmt: skip
def test_metadata_without_a_whole_stamp_is_nobodys(metadata: dict[str, str]) -> None:
    assert read_stamp(metadata) is None


def test_of_several_creates_the_last_one_counts_if_the_attempt_is_not_known() -> None:
    batches = [listed("second", attempt=2), listed("third", attempt=3), listed("first")]
    found = match_create(
        batches, metadata=ANY_ATTEMPT.as_metadata(), input_file_id=None, known=(), since=SINCE
    )
    assert found is not None
    assert found.id == "third"


@pytest.mark.parametrize(
    "candidate", [listed("known", attempt=9), listed("old", hours=-1), listed("other", metadata={})]
)
def test_what_is_known_too_old_or_not_stamped_is_never_taken_for_a_lost_create(
    candidate: ProviderBatch,
) -> None:
    found = match_create(
        [candidate], metadata=ANY_ATTEMPT.as_metadata(), input_file_id=None, known={"known"},
        since=SINCE,
    )  # fmt: skip
    assert found is None


def test_the_owner_of_a_batch_is_told_by_its_stamp_and_else_by_its_input_file() -> None:
    theirs = listed("b", metadata=Stamp(installation="x", batch_id=1, attempt=1).as_metadata())
    bare = listed("c", metadata={}, input_file_id="file-1")
    assert owner_of_batch(listed("a"), "cafe0123") is Owner.OURS
    assert owner_of_batch(theirs, "cafe0123") is Owner.OTHER_INSTALLATION
    assert owner_of_batch(bare, "cafe0123", our_files={"file-1"}) is Owner.OURS
    assert owner_of_batch(bare, "cafe0123") is Owner.FOREIGN


def test_the_owner_of_an_input_file_is_told_by_its_name() -> None:
    names = {
        input_file_name("cafe0123", 7): Owner.OURS,
        input_file_name("beef0123", 7): Owner.OTHER_INSTALLATION,
        "requests.jsonl": Owner.FOREIGN,
        None: Owner.FOREIGN,
    }
    for name, owner in names.items():
        assert owner_of_file(ProviderFile(id="file", filename=name), "cafe0123") is owner
