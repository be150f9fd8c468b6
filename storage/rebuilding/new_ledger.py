"""A new ledger in place of a lost one, with the name that the installation had."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from batching.errors import ConfigurationError
from storage.backups import log_of
from storage.directory import DataDirectory
from storage.durable import move
from storage.ledger import Ledger
from storage.locks import exclusive_lock_if_free
from storage.rebuilding.catching_up import CaughtUp, catch_up
from storage.rebuilding.evidence import installation_in
from storage.results import CostOf
from storage.segment_records import read_segment_record

_REASON = "the ledger was rebuilt"
_FLOWS = ("ingest", "submit", "track", "deliver", "upkeep")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What a new ledger was made of."""

    put_aside: Path | None
    """Where the ledger is now that was there before."""
    caught_up: CaughtUp


def rebuild_ledger(
    directory: DataDirectory, *, force: bool, account: str, cost_of: CostOf, memory_bytes: int
) -> Rebuilt:
    """Make a new ledger from segments, manifests and results alone; submission is locked then.

    ConfigurationError: a pipeline is running, or there is a ledger and `force` was not said.
    """
    directory.create()
    with ExitStack() as stack:
        for flow in _FLOWS:
            if not stack.enter_context(exclusive_lock_if_free(directory.locks / f"{flow}.lock")):
                raise ConfigurationError(
                    f"a pipeline is working on {directory.root} (flow {flow}): stop it first"
                )
        if directory.ledger.exists() and not force:
            raise ConfigurationError(
                f"there is a ledger {directory.ledger}: if it is really to be replaced by one made "
                "of the files, say --force (it is kept in backups/)"
            )
        put_aside = _put_aside(directory)
        ledger = Ledger.make_anew(
            directory,
            installation=installation_in(directory) or _installation_of_segments(directory),
            reason=_REASON,
            memory_bytes=memory_bytes,
        )
        with ledger.transaction() as transaction:
            transaction.record_move("submission", "all", "locked", reason=_REASON, actor="rebuild")
        caught_up = catch_up(ledger, account=account, cost_of=cost_of)
    return Rebuilt(put_aside=put_aside, caught_up=caught_up)


def _put_aside(directory: DataDirectory) -> Path | None:
    if not directory.ledger.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = directory.backups / f"ledger-{stamp}-replaced.duckdb"
    move(directory.ledger, target)  # first: without its log it would open and lack what is there
    if log_of(directory.ledger).exists():
        move(log_of(directory.ledger), log_of(target))
    return target


def _installation_of_segments(directory: DataDirectory) -> str | None:
    numbers = (path.stem for path in directory.segments.glob("*.parquet"))
    for number in sorted((int(each) for each in numbers if each.isdecimal()), reverse=True):
        record = read_segment_record(directory.segments, number)
        if record is not None:
            return record.installation
    return None
