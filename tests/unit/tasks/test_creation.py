from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import Store, chat_lines

from batching.lifecycle import BatchState
from batching.provider import ProviderBatch, read_batch
from simulator.process import SimulatorProcess
from storage.batches import Batch, batch_of, mark_submitting
from storage.jobs import cancel_job
from tasks.assembly import assemble_batch
from tasks.creation import create_batch, match_create, settle_creates
from tasks.resources import Resources
from tasks.upload import upload_batch

SINCE = datetime(2026, 3, 1, 11, tzinfo=UTC)
METADATA = {"obm_installation": "cafe0123", "obm_batch": "7", "obm_attempt": "2"}


def listed(batch_id: str = "batch_1", **said: Any) -> ProviderBatch:
    after = int((SINCE + timedelta(minutes=5)).timestamp())
    answer = {"id": batch_id, "status": "validating", "created_at": after, "metadata": METADATA}
    return read_batch(answer | {"input_file_id": "file-7"} | said)


def matched(*found: ProviderBatch, known: frozenset[str] = frozenset()) -> str | None:
    batch = match_create(found, metadata=METADATA, input_file_id="file-7", known=known, since=SINCE)
    return batch.id if batch else None


def test_a_batch_with_our_metadata_is_ours() -> None:
    theirs = listed("batch_0", metadata={"who": "else"}, input_file_id="file-1")
    assert matched(theirs, listed()) == "batch_1"
    assert matched() is None
    assert matched(listed(metadata=METADATA | {"more": "kept"})) == "batch_1"


@pytest.mark.parametrize(
    "metadata",
    [
        METADATA | {"obm_attempt": "1"},
        METADATA | {"obm_batch": "8"},
        METADATA | {"obm_installation": "beef0123"},
        {"obm_batch": "7"},
    ],
)
def test_a_batch_of_another_attempt_or_installation_is_not_ours_though_its_file_is(
    metadata: dict[str, str],
) -> None:
    assert matched(listed(metadata=metadata)) is None


@pytest.mark.parametrize("metadata", [None, {}, {"else": "x"}, "broken"])
def test_a_server_that_drops_metadata_is_matched_by_the_input_file(metadata: object) -> None:
    assert matched(listed(metadata=metadata)) == "batch_1"
    assert matched(listed(metadata=metadata, input_file_id="file-8")) is None


def test_what_is_known_or_older_than_the_intent_is_left_out() -> None:
    assert matched(listed(), known=frozenset({"batch_1"})) is None
    before = int(SINCE.timestamp()) - 1
    assert matched(listed(created_at=before)) is None
    assert matched(listed(created_at=None)) == "batch_1"
    assert matched(listed(created_at=int(SINCE.timestamp()))) == "batch_1"


# With a real provider ---------------------------------------------------------------------


def uploaded(store: Store) -> Batch:
    store.take_in(chat_lines(3))
    batch = store.claim()
    assemble_batch.fn(batch.batch_id)
    assert upload_batch.fn(batch.batch_id)
    return batch_of(store.ledger, batch.batch_id)


def test_a_crash_after_the_create_is_found_out_and_the_batch_adopted(
    store: Store, resources: Resources
) -> None:
    batch = uploaded(store)
    intended = mark_submitting(store.ledger, batch.batch_id)
    assert intended is not None
    metadata = {
        "obm_installation": resources.installation,
        "obm_batch": str(batch.batch_id),
        "obm_attempt": str(intended.create_attempt),
    }
    created = resources.provider.create(
        input_file_id=batch.input_file_id or "", endpoint=batch.endpoint, metadata=metadata
    )
    assert settle_creates() == 1
    adopted = batch_of(store.ledger, batch.batch_id)
    assert (adopted.state, adopted.provider_id) == (BatchState.SUBMITTED, created.id)
    assert settle_creates() == 0


def test_a_crash_before_the_create_is_proven_by_two_looks_and_starts_over(
    store: Store, simulator: SimulatorProcess
) -> None:
    before = simulator.counters()["batches_created"]
    batch = uploaded(store)
    mark_submitting(store.ledger, batch.batch_id)
    settle_creates()
    assert batch_of(store.ledger, batch.batch_id).state is BatchState.SUBMITTING
    settle_creates()
    again = batch_of(store.ledger, batch.batch_id)
    assert (again.state, again.input_file_id) == (BatchState.PLANNED, None)
    assert upload_batch.fn(batch.batch_id)
    assert create_batch.fn(batch.batch_id)
    assert simulator.counters()["batches_created"] == before + 1


@pytest.mark.parametrize(("status", "trouble"), [(401, True), (404, False), (503, False)])
def test_a_look_that_fails_proves_nothing(
    store: Store, simulator: SimulatorProcess, status: int, *, trouble: bool
) -> None:
    batch = uploaded(store)
    mark_submitting(store.ledger, batch.batch_id)
    simulator.set_scenarios(f"failing_calls:call=batches.list,status={status}")
    for _ in range(3):
        settle_creates()
    assert batch_of(store.ledger, batch.batch_id).state is BatchState.SUBMITTING
    assert bool(store.value("SELECT count(trouble) FROM accounts")) is trouble


def test_a_cancelled_batch_is_not_created_after_it_was_proven_absent(
    store: Store, simulator: SimulatorProcess
) -> None:
    before = simulator.counters()["batches_created"]
    batch = uploaded(store)
    mark_submitting(store.ledger, batch.batch_id)
    cancel_job(store.ledger, "job", actor="ann")
    for _ in range(2):
        settle_creates()
    assert batch_of(store.ledger, batch.batch_id).state is BatchState.CANCELLED
    assert store.states() == {"cancelled": 3}
    assert not create_batch.fn(batch.batch_id)
    assert simulator.counters()["batches_created"] == before
