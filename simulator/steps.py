"""One step in the life of a batch: check it, run a portion of it, close it."""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from simulator.answers import dated_name
from simulator.batch_faults import (
    bad_lines,
    failure_at_check,
    hold_seconds,
    missing_file_message,
    stop_position,
    trailing_lines,
)
from simulator.database import add_to_counters
from simulator.execution import Executor
from simulator.inspection import inspect_file
from simulator.limits import BATCH_FILE_RETENTION_SECONDS, WINDOW_SECONDS
from simulator.line_faults import LineFaults
from simulator.line_plan import load_plan, save_plan
from simulator.records import BatchError, FileRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.batch_store import BatchStore, StoredBatch
    from simulator.database import Database
    from simulator.execution import Outcome
    from simulator.file_store import FileStore
    from simulator.inspection import Inspection
    from simulator.records import BatchRecord

FOREVER = float(2**53)


class BatchSteps:
    """Carries a batch one step further and saves what came of it in one transaction."""

    def __init__(
        self, database: Database, files: FileStore, batches: BatchStore, *, phase_seconds: float
    ) -> None:
        self._database = database
        self._files = files
        self._batches = batches
        self._phase_seconds = phase_seconds

    def take(self, stored: StoredBatch) -> None:
        """Do whatever is next for this batch."""
        batch = stored.record
        if stored.cancel_requested_at is not None and batch.status != "cancelling":
            self._begin_cancelling(stored, stored.cancel_requested_at)
        elif self._is_held(stored):
            return
        elif batch.status == "validating":
            self._validate(stored)
        elif batch.status == "finalizing":
            self._close(stored, "completed")
        elif batch.lines_done < batch.total:
            self._continue(stored)
        elif batch.status == "cancelling":
            self._close(stored, "cancelled")
        elif batch.stop_reason in ("expired", "generic"):
            self._close(stored, "expired")
        else:
            self._begin_finalizing(stored)

    def _save(self, stored: StoredBatch, record: BatchRecord, due_at: float | None) -> None:
        with self._database.transaction() as connection:
            self._batches.save(connection, record, due_at=due_at, seen=stored)

    def _phase(self, record: BatchRecord, **changes: Any) -> tuple[BatchRecord, float]:
        """Return the record at the start of a phase, and when that phase is over."""
        now = time.time()
        return replace(record, phase_started=now, **changes), now + self._phase_seconds

    def _is_held(self, stored: StoredBatch) -> bool:
        """Put a batch aside that a scenario keeps in its phase."""
        batch = stored.record
        seconds = hold_seconds(batch)
        if seconds is None or stored.released:
            return False
        until = batch.phase_started + self._phase_seconds + seconds if seconds else FOREVER
        if until <= time.time():
            return False
        self._save(stored, batch, until)
        return True

    def _begin_cancelling(self, stored: StoredBatch, requested_at: int) -> None:
        batch = stored.record
        record, due_at = self._phase(
            batch,
            status="cancelling",
            cancelling_at=requested_at,
            stop_at=batch.lines_done,
            stop_reason="cancelled",
        )
        self._save(stored, record, due_at)

    def _validate(self, stored: StoredBatch) -> None:
        batch = stored.record
        path = self._files.content(batch.input_file_id)
        kept = self._batches.work_file(batch.id, "input")
        kept.unlink(missing_ok=True)
        try:
            # A link of its own keeps the input readable when the client deletes the file.
            os.link(path, kept)
        except FileNotFoundError:
            message = missing_file_message(batch.input_file_id)
            self._refuse(stored, [BatchError(code="invalid_file", message=message)])
            return
        inspection = inspect_file(kept, batch.endpoint)
        errors: Sequence[BatchError] | None = (
            inspection.errors
            or bad_lines(batch, kept, inspection)
            or failure_at_check(batch, inspection.model or "", inspection.tokens, self._batches)
        )
        if errors is None:
            self._accept(stored, inspection)
        else:
            self._refuse(stored, errors, inspection.model)

    def _refuse(
        self, stored: StoredBatch, errors: Sequence[BatchError], model: str | None = None
    ) -> None:
        record = replace(
            stored.record,
            status="failed",
            failed_at=int(time.time()),
            errors=tuple(errors),
            model=dated_name(model) if model else None,
        )
        self._save(stored, record, None)
        self._clean(record)

    def _accept(self, stored: StoredBatch, inspection: Inspection) -> None:
        batch, total = stored.record, len(inspection.offsets)
        plan = self._batches.work_file(batch.id, "plan")
        save_plan(plan, inspection, in_steps=self._phase_seconds > 0)
        stop_at, stop_reason = stop_position(batch, total)
        model = inspection.model or ""
        record, _ = self._phase(
            batch,
            status="in_progress",
            in_progress_at=int(time.time()),
            expires_at=batch.created_at + WINDOW_SECONDS,
            model=dated_name(model),
            total=total,
            stop_at=stop_at,
            stop_reason=stop_reason,
        )
        with self._database.transaction() as connection:
            self._batches.save(connection, record, due_at=self._next_portion(record), seen=stored)
            self._batches.enqueue(connection, batch.id, queue=model, tokens=inspection.tokens)

    def _next_portion(self, batch: BatchRecord) -> float:
        """Return when the next portion of lines is due, so that progress is even."""
        if not self._phase_seconds:
            return time.time()
        blocks = load_plan(self._batches.work_file(batch.id, "plan")).blocks
        return batch.phase_started + self._phase_seconds * (batch.blocks_done + 1) / blocks

    def _continue(self, stored: StoredBatch) -> None:
        batch = stored.record
        if batch.expires_at is not None and batch.expires_at <= time.time():
            batch = replace(batch, stop_at=min(batch.lines_done, batch.stop_at or batch.total))
            batch = replace(batch, stop_reason=batch.stop_reason or "expired")
        stopped = batch.stop_at is not None and batch.lines_done >= batch.stop_at
        if stopped and batch.stop_reason == "cancelled" and batch.status == "in_progress":
            self._begin_cancelling(stored, int(time.time()))
        else:
            self._run_portion(stored, batch, stopped=stopped)

    def _run_portion(self, stored: StoredBatch, batch: BatchRecord, *, stopped: bool) -> None:
        plan = load_plan(self._batches.work_file(batch.id, "plan"))
        block = plan.block(batch.id, batch.blocks_done)
        portion = block[batch.block_offset :]
        if not stopped and batch.stop_at is not None:
            portion = portion[: batch.stop_at - batch.lines_done]
        lines = plan.read(self._batches.work_file(batch.id, "input"), portion)
        faults = LineFaults(batch, self._failed_before)
        executor = Executor(batch, faults, created=int(time.time()))
        if not stopped:
            for ordinal, line in zip(portion, lines, strict=True):
                executor.run(ordinal, line)
        elif batch.scenario("unlisted_rest") is None:
            for ordinal, line in zip(portion, lines, strict=True):
                executor.leave_out(ordinal, line, batch.stop_reason or "cancelled")
        if batch.lines_done + len(portion) == batch.total:
            executor.outcome.output += trailing_lines(batch)
        offset = batch.block_offset + len(portion)
        whole = offset == len(block)
        record = replace(
            self._write(batch, executor.outcome),
            lines_done=batch.lines_done + len(portion),
            blocks_done=batch.blocks_done + (1 if whole else 0),
            block_offset=0 if whole else offset,
        )
        executed = 0 if stopped else len(portion) - executor.outcome.never_ran
        self._save_portion(stored, record, executor.outcome, faults, executed)

    def _save_portion(
        self,
        stored: StoredBatch,
        record: BatchRecord,
        outcome: Outcome,
        faults: LineFaults,
        executed: int,
    ) -> None:
        # What is left out is written without waiting: the time of the phase is over already.
        waits = executed and record.lines_done < record.total
        due_at = self._next_portion(record) if waits else time.time()
        with self._database.transaction() as connection:
            self._batches.save(connection, record, due_at=due_at, seen=stored)
            add_to_counters(
                connection,
                lines_executed=executed,
                lines_paid=len(outcome.paid),
                tokens_read=outcome.tokens_read,
                tokens_written=outcome.tokens_written,
            )
            connection.executemany(
                "INSERT INTO failed_bodies VALUES (?, ?, 1)"
                " ON CONFLICT (rule, body) DO UPDATE SET times = times + 1",
                faults.failures,
            )

    def _failed_before(self, rule: int, body_hash: int) -> int:
        row = self._database.execute(
            "SELECT times FROM failed_bodies WHERE rule = ? AND body = ?", (rule, body_hash)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _write(self, batch: BatchRecord, outcome: Outcome) -> BatchRecord:
        """Append a portion to the files, and return the batch that has come so far."""
        output, error = _result_file_ids(batch)
        return replace(
            batch,
            completed=batch.completed + outcome.completed,
            failed=batch.failed + outcome.failed,
            input_tokens=batch.input_tokens + outcome.tokens_read,
            output_tokens=batch.output_tokens + outcome.tokens_written,
            output_bytes=_append(
                self._files.content(output), batch.output_bytes, "".join(outcome.output).encode()
            ),
            error_bytes=_append(
                self._files.content(error), batch.error_bytes, "".join(outcome.errors).encode()
            ),
            paid_bytes=_append(
                self._batches.paid_file(batch.id), batch.paid_bytes, outcome.paid.tobytes()
            ),
        )

    def _begin_finalizing(self, stored: StoredBatch) -> None:
        record, due_at = self._phase(
            stored.record, status="finalizing", finalizing_at=int(time.time())
        )
        self._save(stored, record, due_at)

    def _close(self, stored: StoredBatch, status: str) -> None:
        batch, now = stored.record, int(time.time())
        output, error = _result_file_ids(batch)
        record = replace(
            batch,
            status=status,
            output_file_id=output if batch.output_bytes else None,
            error_file_id=error if batch.error_bytes else None,
            **{f"{status}_at": now},
        )
        with self._database.transaction() as connection:
            self._publish(connection, record, record.output_file_id, "output", batch.output_bytes)
            self._publish(connection, record, record.error_file_id, "error", batch.error_bytes)
            self._batches.save(connection, record, due_at=None, seen=stored)
        self._clean(record)

    def _publish(
        self,
        connection: sqlite3.Connection,
        batch: BatchRecord,
        file_id: str | None,
        kind: str,
        size: int,
    ) -> None:
        if file_id is None:
            return
        now = int(time.time())
        lifetime = batch.output_expires_seconds or BATCH_FILE_RETENTION_SECONDS
        record = FileRecord(
            id=file_id,
            account=batch.account,
            bytes=size,
            created_at=now,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            expires_at=now + lifetime,
        )
        self._files.add(record, connection)

    def _clean(self, batch: BatchRecord) -> None:
        for kind in ("input", "plan"):
            self._batches.work_file(batch.id, kind).unlink(missing_ok=True)


def _result_file_ids(batch: BatchRecord) -> tuple[str, str]:
    """Return ids that are the same after a restart, so that a half-written file is found."""
    output = blake2b(f"{batch.id} output".encode(), digest_size=16).hexdigest()
    error = blake2b(f"{batch.id} error".encode(), digest_size=16).hexdigest()
    return f"file-{output}", f"file-{error}"


def _append(path: Path, size: int, data: bytes) -> int:
    """Write data behind the bytes that count, over what a crash may have left there."""
    if not data:
        return size
    path.touch()
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(data)
    return size + len(data)
