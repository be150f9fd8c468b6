"""The lock on submission after a restore: nothing is sent until the account has been swept.

A ledger that was put back, or made anew, does not know of every batch that was created. It may
only send again when the account's batches have been looked through and ours have been adopted.
The lock lies in the ledger itself, so that it travels with every copy of it.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from batching.clock import is_due, now

if TYPE_CHECKING:
    from storage.ledger import Ledger, Transaction

SWEEP_PAUSE_SECONDS = 30.0
_KEY = "submission_lock"
_LAST_NUMBER = "last_batch_number"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionLock:
    """Why nothing is sent, and when the account is swept next."""

    reason: str
    since: str
    next_sweep_at: str
    problem: str | None = None
    """Why the last sweep could not end it."""
    caught_up: bool = False
    """Whether everything that lies in the data directory is in the ledger again."""

    @property
    def sentence(self) -> str:
        """What to tell a person."""
        why = f"; {self.problem}" if self.problem else ""
        return (
            f"{self.reason}: nothing is sent until a sweep of the account has adopted our "
            f"batches{why}"
        )

    def is_due(self, at: datetime) -> bool:
        """Return whether it is time to sweep (again)."""
        moment = datetime.fromisoformat(self.next_sweep_at)
        return is_due(moment, at, longest_seconds=SWEEP_PAUSE_SECONDS)


def submission_lock(reader: "Transaction") -> SubmissionLock | None:
    """Return the lock on submission, or None if requests may be sent."""
    text = reader.value("SELECT value FROM meta WHERE key = ?", _KEY)
    return None if text is None else SubmissionLock(**json.loads(text))


def lock_submission(transaction: "Transaction", *, reason: str, actor: str) -> None:
    """Let nothing be sent until a sweep; a lock that is there already stays as it is."""
    if submission_lock(transaction) is not None:
        return
    lock = fresh_lock(reason)
    transaction.execute("INSERT INTO meta VALUES (?, ?)", _KEY, lock)
    transaction.record_move("submission", "all", "locked", reason=reason, actor=actor)


def fresh_lock(reason: str) -> str:
    """Return the text of a new lock, whose sweep is due at once."""
    moment = now().isoformat()
    return json.dumps(asdict(SubmissionLock(reason=reason, since=moment, next_sweep_at=moment)))


def lock_row(reason: str) -> tuple[str, str]:
    """Return what a copy of the ledger gets into its table `meta`."""
    return _KEY, fresh_lock(reason)


def postpone_sweep(ledger: "Ledger", *, problem: str) -> None:
    """Sweep again later; say why the lock could not end this time."""
    moment = (now() + timedelta(seconds=SWEEP_PAUSE_SECONDS)).isoformat()
    _change(ledger, next_sweep_at=moment, problem=problem)


def mark_caught_up(ledger: "Ledger") -> None:
    """Say that everything in the data directory is in the ledger; only the sweep is left."""
    _change(ledger, caught_up=True)


def _change(ledger: "Ledger", **changes: object) -> None:
    with ledger.transaction() as transaction:
        lock = submission_lock(transaction)
        if lock is not None:
            text = json.dumps(asdict(lock) | changes)
            transaction.execute("UPDATE meta SET value = ? WHERE key = ?", text, _KEY)


def unlock_submission(ledger: "Ledger", *, reason: str, actor: str) -> bool:
    """Let requests be sent again; return whether they were held."""
    with ledger.transaction() as transaction:
        was_locked = transaction.execute("DELETE FROM meta WHERE key = ?", _KEY)
        if was_locked:
            transaction.record_move("submission", "all", "open", reason=reason, actor=actor)
    return bool(was_locked)


def last_batch_number(reader: "Transaction") -> int:
    """Return the highest number that a batch of ours has, here or at the provider."""
    noted = reader.value("SELECT value FROM meta WHERE key = ?", _LAST_NUMBER)
    used = reader.value("SELECT max(batch_id) FROM batches")
    return max(int(noted or 0), int(used or 0))


def note_batch_number(transaction: "Transaction", number: int) -> None:
    """Never give this number, or a lower one, to a new batch: the provider has one of it."""
    highest = max(number, last_batch_number(transaction))
    transaction.execute("DELETE FROM meta WHERE key = ?", _LAST_NUMBER)
    transaction.execute("INSERT INTO meta VALUES (?, ?)", _LAST_NUMBER, str(highest))
