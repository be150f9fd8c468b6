"""Doing what is told in the audit trail, where the ledger may be lost or out of order."""

import sys
from collections.abc import Callable
from typing import TypeVar

from batching.errors import BatchManagerError
from batching.settings import Settings
from deployments.cli.surroundings import data_directory
from storage.ledger import Ledger, is_lost

T = TypeVar("T")


def on_record(settings: Settings, told: Callable[[Ledger], T], untold: Callable[[], T]) -> T:
    """Return what `told` does with the ledger; without one, what `untold` does.

    Who pauses or revokes something must get it done also when the ledger cannot be written: it is
    then said that it is not in the audit trail.
    """
    directory = data_directory(settings)
    directory.create()
    if is_lost(directory):
        return _untold(untold, "the ledger is lost, `obm rebuild` makes it anew")
    try:
        ledger = Ledger.open(directory, memory_bytes=settings.ledger_memory_bytes)
        ledger.prove_writable()
    except (BatchManagerError, OSError) as error:
        return _untold(untold, str(error))
    return told(ledger)


def _untold(untold: Callable[[], T], why: str) -> T:
    done = untold()
    sys.stderr.write(f"This is not in the audit trail: {why}\n")
    return done
