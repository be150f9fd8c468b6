from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from factories import Store, chat_lines
from pydantic import SecretStr

from batching.errors import DiskFull
from batching.lifecycle import BatchState
from batching.settings import Settings
from simulator.process import SimulatorProcess
from storage.batches import Batch, batch_of
from storage.outbox import pending_parts
from tasks.assembly import assemble_batch
from tasks.collection import collect
from tasks.creation import create_batch
from tasks.delivery import complete_jobs, deliver_to_files
from tasks.polling import poll_batches
from tasks.resources import Resources, using
from tasks.upload import upload_batch

NOBODY = "http://127.0.0.1:9/v1"


def submitted(store: Store) -> Batch:
    store.take_in(chat_lines(3))
    batch = store.claim()
    assemble_batch.fn(batch.batch_id)
    assert upload_batch.fn(batch.batch_id)
    assert create_batch.fn(batch.batch_id)
    return batch_of(store.ledger, batch.batch_id)


def ended(store: Store) -> Batch:
    batch = submitted(store)
    while batch.state is BatchState.SUBMITTED:
        poll_batches.fn()
        batch = batch_of(store.ledger, batch.batch_id)
    assert batch.state is BatchState.ENDED
    return batch


@contextmanager
def working_with(settings: Settings, store: Store, **changes: object) -> Iterator[None]:
    """Work on the same ledger with other settings."""
    found = Resources(settings.model_copy(update=changes))
    found.__dict__["ledger"] = store.ledger
    found.provider._pause = lambda _seconds: None
    with using(found):
        yield
    found.provider.close()


def tries(batch: Batch, count: int = 3) -> list[bool]:
    """Try to collect so many times; return whether each try recorded something."""
    return [collect.fn(batch.batch_id) is not None for _ in range(count)]


def test_results_wait_as_long_as_nobody_answers(store: Store, settings: Settings) -> None:
    batch = ended(store)
    with working_with(settings, store, openai_base_url=NOBODY):
        assert tries(batch) == [False] * 3
    assert store.value("SELECT unreadable_since FROM batches") is None
    assert tries(batch, 1) == [True]
    assert store.states() == {"succeeded": 3}


def test_results_wait_as_long_as_the_account_is_refused(
    store: Store, simulator: SimulatorProcess
) -> None:
    batch = ended(store)
    simulator.set_scenarios("failing_calls:call=files.retrieve,status=401")
    assert tries(batch) == [False] * 3
    assert store.value("SELECT count(trouble) FROM accounts") == 1
    simulator.clear_scenarios()
    assert tries(batch, 1) == [True]
    assert store.states() == {"succeeded": 3}


@pytest.mark.parametrize("scenario", ["failing_calls:call=files.content,status=500", "missing"])
def test_a_file_that_stays_unreadable_is_given_up_after_its_grace(
    store: Store, simulator: SimulatorProcess, scenario: str
) -> None:
    batch = ended(store)
    simulator.set_scenarios("missing_downloads:times=0" if scenario == "missing" else scenario)
    assert tries(batch, 2) == [False, True]
    assert store.states() == {"failed": 3}
    codes = store.rows("SELECT DISTINCT error_code FROM requests")
    assert codes == [{"error_code": "obm_results_unavailable"}]


def test_a_full_disk_is_no_trouble_of_the_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise DiskFull("no space is left")

    batch = ended(store)
    monkeypatch.setattr("clients.openai_batches.save_stream", full)
    for _ in range(2):
        with pytest.raises(DiskFull):
            collect.fn(batch.batch_id)
    monkeypatch.undo()
    assert tries(batch, 1) == [True]
    assert store.states() == {"succeeded": 3}


def test_a_batch_is_not_lost_because_the_key_belongs_to_another_project_now(
    store: Store, settings: Settings
) -> None:
    batch = submitted(store)
    with working_with(settings, store, openai_api_key=SecretStr(f"other-{store.directory.root}")):
        store.take_in(chat_lines(2, prefix="later"), name="later", source_id="s2")
        later = store.claim()
        assemble_batch.fn(later.batch_id)
        assert upload_batch.fn(later.batch_id)
        assert create_batch.fn(later.batch_id)
        for _ in range(3):
            poll_batches.fn()
    assert batch_of(store.ledger, batch.batch_id).state is BatchState.SUBMITTED
    assert "gone from this account" in store.value("SELECT trouble FROM accounts")


def test_one_part_that_cannot_be_written_does_not_hold_up_the_others(
    store: Store, resources: Resources
) -> None:
    store.take_in(chat_lines(2), name="blocked", source_id="s1")
    store.answer_all(store.ended())
    store.take_in(chat_lines(2), name="free", source_id="s2")
    store.answer_all(store.ended())
    in_the_way = resources.directory.outbox / "blocked"
    in_the_way.write_bytes(b"a file where a folder should be")
    assert deliver_to_files.fn() == {"free": 2}
    assert complete_jobs.fn() == ["free"]
    with store.ledger.transaction() as reader:
        assert pending_parts(reader, most=9) == []
    in_the_way.unlink()
    store.run("UPDATE parts SET next_attempt_at = NULL")
    assert deliver_to_files.fn() == {"blocked": 2}
    assert complete_jobs.fn() == ["blocked"]
