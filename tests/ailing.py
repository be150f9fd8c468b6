"""A small healthy system in every stage of its work, for tests that damage it."""

import json
import os
from pathlib import Path

from factories import (
    INSTALLATION,
    Store,
    chat_line,
    chat_lines,
    failure_line,
    not_run_line,
    success_line,
)

from batching.destinations import parse_destination
from batching.jobs import JobSettings
from batching.lifecycle import BatchState
from storage.batches import Batch
from storage.doctor.diagnosis import examine
from storage.doctor.findings import Finding, Report
from storage.result_files import result_path
from storage.results import write_own_results_of_requests

WEBHOOK = '{"type":"webhook","webhook_url":"https://example.com/results"}'


def healthy(store: Store) -> Store:
    """Fill a store with finished, pushed, cancelled, waiting and open work.

    Job `job` (segment 1) is delivered: batch 1, of which row 9 came back and waits; job `pushed`
    (segment 2) has batch 2 and pending deliveries; job `stopped` (segment 3) was cancelled here;
    job `open` (segment 4) is in batch 3, which is submitted; job `waiting` (segment 5) is pending.
    """
    store.run("UPDATE meta SET value = ? WHERE key = 'installation'", INSTALLATION)
    store.take_in([*chat_lines(10), chat_line("id-3")], source_id="s1")
    first = _created(store)
    wires = store.wire_ids(first)
    store.collect(
        store.bring_to(first, BatchState.ENDED),
        [success_line(wire) for wire in wires[:7]],
        [*(failure_line(wire) for wire in wires[7:9]), not_run_line(wires[9])],
    )
    store.deliver()
    store.run("UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
              "finished_at = now()::TIMESTAMP WHERE state = 'pending'")  # fmt: skip
    pushed = JobSettings(delivery_config=parse_destination(WEBHOOK))
    store.take_in(chat_lines(4), name="pushed", source_id="s2", settings=pushed)
    second = _created(store)
    store.answer_all(store.bring_to(second, BatchState.ENDED))
    write_own_results_of_requests(store.ledger)
    store.deliver()
    store.take_in(chat_lines(3), name="open", source_id="s3")
    _created(store)
    store.take_in(chat_lines(2), name="waiting", source_id="s4")
    return store


def _created(store: Store) -> Batch:
    """Claim a batch with its files and lead it to the provider."""
    batch = store.claim()
    store.write_input(batch)
    batch = store.bring_to(batch, BatchState.SUBMITTED)
    store.run(
        "INSERT INTO creates SELECT batch_id, create_attempt, provider_id, now()::TIMESTAMP "
        "FROM batches WHERE batch_id = ?",
        batch.batch_id,
    )
    return batch


def diagnosed(store: Store) -> Report:
    return examine(store.directory, patience_seconds=0)


def codes(store: Store) -> list[str]:
    return [finding.code for finding in diagnosed(store).findings]


def finding(store: Store, code: str) -> Finding:
    """Return the finding of this kind; fail if there is none."""
    found = {each.code: each for each in diagnosed(store).findings}
    assert code in found, found
    return found[code]


def old(path: Path) -> Path:
    """Make a file that nothing writes any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    os.utime(path, (1, 1))
    return path


def results_of(store: Store, batch_id: int) -> Path:
    return result_path(store.directory, batch_id)


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]
