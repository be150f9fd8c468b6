"""Taking in what receivers accepted: all waiting logs together, then they are deleted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from batching.stopping import check_stop
from storage.durable import sync_folder
from storage.intake_log import seal_abandoned_logs
from storage.log_files import LogFile, logs_in
from storage.log_intake import TakenLogs, one_pass, take_in_logs
from storage.log_recording import (
    RecordedLogs,
    forget_unrecorded_segments_of,
    record_logs,
    recorded_logs,
)
from storage.sources import next_segment
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenReceived:
    """What all waiting logs brought."""

    logs: int
    accepted: int
    rejected: int
    repeated: int
    conflicts: int


@step(name="take in received", run_name="take in what was received")
def take_in_received() -> TakenReceived:
    """Take in every log that is handed over or whose owner is dead.

    The caller owns the flow. Done again after a crash it goes on behind what is recorded.
    """
    directory = resources().directory
    seal_abandoned_logs(directory)
    total = TakenReceived(logs=0, accepted=0, rejected=0, repeated=0, conflicts=0)
    while logs := one_pass(_without_recorded(logs_in(directory.inbox))):
        check_stop()
        recorded = _one_pass(logs)
        if recorded is None:
            break
        total = TakenReceived(
            logs=total.logs + len(logs),
            accepted=total.accepted + recorded.accepted,
            rejected=total.rejected + recorded.rejected,
            repeated=total.repeated + recorded.repeated,
            conflicts=total.conflicts + recorded.conflicts,
        )
    return total


def _without_recorded(logs: Sequence[LogFile]) -> list[LogFile]:
    """Delete the logs that a crash, or a new name at the last moment, left behind."""
    if not logs:
        return []
    recorded = recorded_logs(resources().ledger, logs)
    _delete([log for log in logs if log.source_id in recorded])
    return [log for log in logs if log.source_id not in recorded]


def _one_pass(logs: Sequence[LogFile]) -> RecordedLogs | None:
    """Take in these logs; None if all of them have gone away."""
    ledger, directory = resources().ledger, resources().directory
    forget_unrecorded_segments_of(ledger, directory.segments, [log.source_id for log in logs])
    taken = take_in_logs(
        directory,
        logs,
        rules=resources().reading_rules,
        first_segment=next_segment(ledger, directory.segments),
    )
    if not taken.logs:
        return None
    recorded = _record(taken)
    _delete([log.log for log in taken.logs])
    return recorded


def _record(taken: TakenLogs) -> RecordedLogs:
    for rejected in taken.rejected_lines:
        if (path := rejected.publish()) is not None:
            logger.error("accepted lines cannot be read", extra={"see": str(path)})
    if taken.outdated:
        logger.error(
            "accepted requests are no longer valid, they fail", extra={"requests": taken.outdated}
        )
    return record_logs(resources().ledger, taken, account=resources().settings.account)


def _delete(logs: Sequence[LogFile]) -> None:
    if logs:
        for log in logs:
            log.path.unlink(missing_ok=True)
        sync_folder(resources().directory.inbox)
