"""What the ledger says about batches and files that the provider lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from batching.lifecycle import FINAL_BATCH_STATES
from batching.ownership import read_stamp
from batching.provider import ProviderBatch
from storage.batch_files import write_manifest
from storage.batches import record_create
from storage.jobs import PENDING_AGAIN
from storage.ledger import Ledger, Transaction, now
from storage.provider_files import record_provider_file
from storage.submission_lock import last_batch_number, note_batch_number

_CLOSED = tuple(sorted(state.value for state in FINAL_BATCH_STATES))
_LOST_CODES = "('obm_batch_lost', 'obm_results_unavailable')"
"""A request with one of these may have been answered after all: the lost batch was found."""


def known_batches(reader: Transaction, provider_ids: Sequence[str]) -> frozenset[str]:
    """Return those of these ids under which the ledger knows a batch."""
    rows = reader.rows(
        "SELECT provider_id AS id FROM creates WHERE list_contains($1, provider_id) "
        "UNION SELECT provider_id FROM batches WHERE list_contains($1, provider_id)",
        list(provider_ids),
    )
    return frozenset(row["id"] for row in rows)


def known_files(reader: Transaction, file_ids: Sequence[str]) -> frozenset[str]:
    """Return those of these ids under which the ledger knows a file."""
    rows = reader.rows(
        """
        SELECT file_id AS id FROM provider_files WHERE list_contains($1, file_id)
        UNION SELECT input_file_id FROM batches WHERE list_contains($1, input_file_id)
        UNION SELECT output_file_id FROM batches WHERE list_contains($1, output_file_id)
        UNION SELECT error_file_id FROM batches WHERE list_contains($1, error_file_id)
        """,
        list(file_ids),
    )
    return frozenset(row["id"] for row in rows)


def live_batch_of(reader: Transaction, provider_id: str) -> int | None:
    """Return the number of the batch of ours that is under way with this id, or None."""
    found = reader.value(
        "SELECT batch_id FROM batches LEFT JOIN creates USING (batch_id) "
        "WHERE (batches.provider_id = $1 OR creates.provider_id = $1) "
        f"AND state NOT IN {_CLOSED} LIMIT 1",
        provider_id,
    )
    return None if found is None else int(found)


def live_batch_of_file(reader: Transaction, file_id: str) -> int | None:
    """Return the number of the batch of ours that still needs this file, or None."""
    found = reader.value(
        "SELECT batch_id FROM batches LEFT JOIN provider_files USING (batch_id) "
        "WHERE (input_file_id = $1 OR output_file_id = $1 OR error_file_id = $1 "
        f"OR (file_id = $1 AND NOT disposable)) AND state NOT IN {_CLOSED} LIMIT 1",
        file_id,
    )
    return None if found is None else int(found)


def open_since(reader: Transaction) -> datetime | None:
    """Return when the oldest request was accepted that is not answered; None if all are.

    A batch that was created before it cannot hold anything that could be bought again.
    """
    found: datetime | None = reader.value(
        "SELECT min(accepted_at) FROM requests WHERE state IN ('pending', 'batched')"
    )
    return found


def note_listed(ledger: Ledger, found: ProviderBatch) -> bool:
    """Remember that the provider has this batch of ours; return whether the ledger has it closed.

    After a rebuild a closed batch has lost the id under which the provider holds it.
    """
    stamp = read_stamp(found.metadata)
    if stamp is None:
        return False
    with ledger.transaction() as transaction:
        note_batch_number(transaction, stamp.batch_id)
        row = transaction.row(
            "SELECT state, count(creates.provider_id) AS creates FROM batches "
            "LEFT JOIN creates USING (batch_id) WHERE batch_id = ? GROUP BY state",
            stamp.batch_id,
        )
        if row is None or row["state"] not in _CLOSED or row["creates"]:
            return False
        record_create(transaction, stamp.batch_id, stamp.attempt, found.id)
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """What became of a lost batch."""

    batch_id: int | None
    """Its number here; None if no request waits for its answers."""
    requests: int
    unknown: int
    """Lines of it whose requests the ledger does not know."""
    elsewhere: int
    """Requests that are answered, cancelled, or on their way in another batch."""


def adopt_lost_batch(
    ledger: Ledger,
    found: ProviderBatch,
    members: pl.DataFrame,
    *,
    account: str,
    actor: str,
    reason: str,
) -> Adopted:
    """Take a batch of ours that the ledger does not know into it, as submitted.

    `members` are its requests (segment, row_index). Those that wait are in it from now on, and
    also those that failed because it was lost; the others stay what they are.
    """
    with ledger.transaction() as transaction, transaction.table("members", members):
        transaction.execute(
            f"UPDATE requests SET {PENDING_AGAIN} FROM members WHERE {_SAME} "
            f"AND state = 'failed' AND error_code IN {_LOST_CODES} AND result_id IS NOT NULL"
        )
        known = int(transaction.value(f"SELECT count(*) FROM requests JOIN members ON {_SAME}"))
        lane_id = transaction.value(
            f"SELECT lane_id FROM requests JOIN members ON {_SAME} WHERE state = 'pending' "
            "GROUP BY lane_id ORDER BY count(*) DESC LIMIT 1"
        )
        if lane_id is None:
            return Adopted(
                batch_id=None, requests=0, unknown=members.height - known, elsewhere=known
            )
        batch_id = _free_number(transaction, found)
        taken = transaction.execute(
            f"UPDATE requests SET state = 'batched', batch_id = $1 FROM members WHERE {_SAME} "
            "AND state = 'pending' AND lane_id = $2",
            batch_id, lane_id,
        )  # fmt: skip
        _insert(transaction, found, batch_id, lane_id, account)
        transaction.record_move(
            "batch", batch_id, "submitted", reason=f"{reason}: {found.id}", actor=actor
        )
        transaction.execute(
            "UPDATE jobs SET completed_at = NULL WHERE job_id IN "
            "(SELECT job_id FROM requests WHERE batch_id = ?)",
            batch_id,
        )
        _write_manifest(transaction, ledger, batch_id)
    return Adopted(
        batch_id=batch_id, requests=taken, unknown=members.height - known, elsewhere=known - taken
    )


_SAME = "requests.segment = members.segment AND requests.row_index = members.row_index"


def _free_number(transaction: Transaction, found: ProviderBatch) -> int:
    """Return the number that the batch was created with, or a new one if that is taken."""
    stamp = read_stamp(found.metadata)
    if stamp is not None and not transaction.value(
        "SELECT count(*) FROM batches WHERE batch_id = ?", stamp.batch_id
    ):
        note_batch_number(transaction, stamp.batch_id)
        return stamp.batch_id
    return last_batch_number(transaction) + 1


def _insert(
    transaction: Transaction, found: ProviderBatch, batch_id: int, lane_id: int, account: str
) -> None:
    stamp = read_stamp(found.metadata)
    attempt = max(1, stamp.attempt if stamp else 1)
    created_at = found.created_at or now()
    transaction.execute(
        """
        INSERT INTO batches BY NAME
        SELECT $1::INTEGER AS batch_id, $2::INTEGER AS lane_id, 'submitted' AS state,
            'adopted' AS closed_because, count(*)::INTEGER AS requests,
            sum(wire_bytes)::BIGINT AS bytes, sum(tokens)::BIGINT AS tokens,
            sum(expected_output_tokens)::BIGINT AS expected_output_tokens,
            sum(embedding_inputs)::BIGINT AS embedding_inputs, $3::INTEGER AS create_attempt,
            0 AS token_refusals, 0 AS failures, false AS cancel_requested,
            $4::TIMESTAMP AS planned_at, $4::TIMESTAMP AS uploaded_at,
            $4::TIMESTAMP AS intent_at, $4::TIMESTAMP AS submitted_at,
            $5::TIMESTAMP AS next_poll_at, $6 AS input_file_id, $7 AS provider_id,
            $8 AS provider_status
        FROM requests WHERE batch_id = $1
        """,
        batch_id, lane_id, attempt, created_at, now(), found.input_file_id, found.id, found.status,
    )  # fmt: skip
    record_create(transaction, batch_id, attempt, found.id)
    if found.input_file_id:
        record_provider_file(
            transaction, found.input_file_id, account=account, batch_id=batch_id,
            purpose="input", disposable=False,
        )  # fmt: skip


def _write_manifest(transaction: Transaction, ledger: Ledger, batch_id: int) -> None:
    members = transaction.frame(
        "SELECT segment, row_index, attempts FROM requests WHERE batch_id = ? "
        "ORDER BY segment, row_index",
        batch_id,
    )
    told = transaction.row(
        "SELECT (SELECT value FROM meta WHERE key = 'installation') AS installation, account, "
        "endpoint, model FROM batches JOIN lanes USING (lane_id) WHERE batch_id = ?",
        batch_id,
    )
    (ledger.directory.batches / f"{batch_id:06d}").mkdir(exist_ok=True)
    write_manifest(ledger.directory, batch_id, members, told or {})
