"""What became of an operator's deed on many objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.backups import log_of
from storage.directory import DataDirectory
from storage.ledger import Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionOutcome:
    """How much a deed has changed, and what it left as it was."""

    changed: int
    """Batches, requests, deliveries, lanes or targets, as the deed says."""
    later: int = 0
    """How many of them are only marked: what was asked for happens in the next run."""
    requests: int = 0
    """How many requests a deed on batches has touched."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Why objects stayed as they were, and how many."""
    committed_at_ns: int
    """A view of the ledger that was taken at `written_at_ns` of this or more shows the change."""

    @property
    def skipped_total(self) -> int:
        """How many objects stayed as they were."""
        return sum(self.skipped.values())


def outcome(
    ledger: Ledger,
    changed: int,
    *,
    later: int = 0,
    requests: int = 0,
    skipped: Mapping[str, int] | None = None,
) -> ActionOutcome:
    """Return the outcome of a transaction that has been committed just now."""
    return ActionOutcome(
        changed=changed,
        later=later,
        requests=requests,
        skipped={why: count for why, count in (skipped or {}).items() if count},
        committed_at_ns=written_at_ns(ledger.directory),
    )


def written_at_ns(directory: DataDirectory) -> int:
    """Return when the ledger was last written; ask before taking the view, never after."""
    times = []
    for path in (directory.ledger, log_of(directory.ledger)):
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return max(times, default=0)
