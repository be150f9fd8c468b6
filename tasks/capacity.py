"""Capacity: who waits and why, and whether a stopped account works again."""

from typing import Any

from batching.errors import BatchManagerError, TransientError
from storage.account_changes import bring_unsent
from storage.accounts import end_trouble, postpone_probe, probe_is_due, record_trouble
from storage.reports.progress import lanes_report
from tasks.resources import resources


def probe_account() -> None:
    """Try a stopped account again when that is due; its lanes resume by themselves."""
    ledger, account = resources().ledger, resources().settings.account
    with ledger.transaction() as reader:
        due = probe_is_due(reader, account)
    if not due:
        return
    try:
        resources().provider.check()
    except TransientError:
        postpone_probe(ledger, account)
        return
    except BatchManagerError as error:
        record_trouble(ledger, account, str(error))
        return
    end_trouble(ledger, account)


def bring_unsent_requests() -> int:
    """Let what waits for an account that is no longer configured wait for this one."""
    return bring_unsent(
        resources().ledger, resources().settings.account, limits=resources().retry_limits
    )


def waiting_lanes() -> list[dict[str, Any]]:
    """Return the lanes that wait, with the reason and since when."""
    with resources().ledger.transaction() as reader:
        return [row for row in lanes_report(reader) if row["wait_reason"]]
