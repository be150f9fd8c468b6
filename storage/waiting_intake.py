"""What was accepted or brought and is not in the ledger yet."""

from dataclasses import dataclass
from typing import Final

from storage.directory import DataDirectory
from storage.inbox import waiting_files
from storage.log_files import LogFile, logs_in

_MOST_BYTES: Final = 32_000_000
"""Counting lines beyond this would keep a page waiting; the rest is reckoned from their size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingIntake:
    """How much waits to be taken in."""

    requests: int
    """Accepted by receivers, over REST or RabbitMQ."""
    is_exact: bool
    files: int
    """Request files that somebody has brought."""


def waiting_intake(directory: DataDirectory) -> WaitingIntake:
    """Return how much waits for ingestion."""
    logs = [
        log
        for folder in (directory.receiving, directory.inbox, directory.claimed)
        for log in logs_in(folder)
    ]
    requests, is_exact = _lines(logs)
    return WaitingIntake(requests=requests, is_exact=is_exact, files=len(waiting_files(directory)))


def _lines(logs: list[LogFile]) -> tuple[int, bool]:
    lines = read = whole = 0
    for log in logs:
        try:
            whole += log.bytes
            for block in log.blocks() if read < _MOST_BYTES else ():
                lines, read = lines + block.count(b"\n"), read + len(block)
        except FileNotFoundError:  # taken in meanwhile
            continue
    if read >= whole or not read:
        return lines, True
    return round(lines * whole / read), False
