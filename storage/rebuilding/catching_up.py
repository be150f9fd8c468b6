"""Catching up: everything that lies in the data directory and that the ledger does not know.

After a restore that is what was made since the copy; after a loss it is everything. Each step
may be done again, so a crash in between costs nothing: the lock on submission says whether the
end was reached.
"""

from dataclasses import dataclass

from storage.ledger import Ledger
from storage.locks import exclusive_lock
from storage.rebuilding.evidence import (
    forget_layout,
    lay_out,
    segments_spoken_of,
    unknown_manifests,
    unknown_results,
)
from storage.rebuilding.outbox import find_delivered_parts
from storage.rebuilding.segments import take_in_segments
from storage.rebuilding.verdicts import (
    add_batches,
    add_results,
    settle_batches,
    settle_requests,
)
from storage.results import CostOf
from storage.submission_lock import mark_caught_up, submission_lock


@dataclass(frozen=True, kw_only=True, slots=True)
class CaughtUp:
    """What the ledger has learned from the files."""

    requests: int
    results: int
    batches: int
    """Of which nobody knows yet whether they live at the provider."""
    delivered_parts: int


def catch_up_if_locked(ledger: Ledger, *, account: str, cost_of: CostOf) -> CaughtUp | None:
    """Catch up with the files if the ledger was put back and that was not done yet."""
    if not _is_behind(ledger):
        return None
    with exclusive_lock(ledger.directory.locks / "catch-up.lock"):
        return catch_up(ledger, account=account, cost_of=cost_of) if _is_behind(ledger) else None


def _is_behind(ledger: Ledger) -> bool:
    with ledger.transaction() as reader:
        lock = submission_lock(reader)
    return lock is not None and not lock.caught_up


def catch_up(ledger: Ledger, *, account: str, cost_of: CostOf) -> CaughtUp:
    """Take everything into the ledger that lies in the data directory and is not in it."""
    directory = ledger.directory
    with ledger.transaction() as reader:
        manifests = unknown_manifests(reader, directory)
        results = unknown_results(reader, directory, manifests)
        spoken_of = segments_spoken_of(reader, manifests, results)
    requests = take_in_segments(ledger, account=account, referenced=spoken_of)
    with ledger.transaction() as transaction:
        lay_out(transaction, manifests, results)
        add_batches(transaction, manifests, account)
        ended = settle_requests(transaction, results)
        add_results(transaction, results)
        batches = settle_batches(transaction, results, cost_of=cost_of)
        forget_layout(transaction)
    delivered = find_delivered_parts(ledger)
    mark_caught_up(ledger)
    return CaughtUp(requests=requests, results=ended, batches=batches, delivered_parts=delivered)
