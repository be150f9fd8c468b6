"""Changes a ledger again and again, as a pipeline at work does: a process.

`python -m benchmarks.ledger_writer FOLDER SECONDS` commits one transaction each so many seconds,
until it is told to end.
"""

import itertools
import sys
import time
from pathlib import Path

from storage.directory import DataDirectory
from storage.ledger import Ledger, Transaction

_FINISHED_AT_ONCE = 50


def _change(transaction: Transaction, turn: int) -> None:
    """Let some open requests succeed and say so in the audit trail."""
    transaction.execute(
        "UPDATE requests SET state = 'succeeded', finished_at = now()::TIMESTAMP "
        "WHERE rowid IN (SELECT rowid FROM requests WHERE state = 'batched' LIMIT ?)",
        _FINISHED_AT_ONCE,
    )
    transaction.record_move("batch", turn, "collected", source="ended", reason="benchmark")


def _run(folder: Path, pause_seconds: float) -> None:
    ledger = Ledger.open(DataDirectory(folder))
    for turn in itertools.count():
        with ledger.transaction() as transaction:
            _change(transaction, turn)
        time.sleep(pause_seconds)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), float(sys.argv[2]))
