"""Capacity: who waits and why, and whether a stopped account works again."""

import logging
from typing import Any

from batching.errors import BatchManagerError, TransientError
from batching.outcomes import Proof
from storage.account_changes import bring_unsent
from storage.accounts import end_trouble, postpone_probe, probe_is_due, proof_wanted
from storage.claims import claim_probe
from storage.reports.progress import lanes_report
from tasks.resources import resources

logger = logging.getLogger(__name__)


def probe_account() -> None:
    """Try a stopped account again when that is due; its lanes resume by themselves.

    First it must answer. If it was refused while buying, one batch goes, as small as possible.
    """
    ledger, account = resources().ledger, resources().settings.account
    with ledger.transaction() as reader:
        due, wanted = probe_is_due(reader, account), proof_wanted(reader, account)
    if not due:
        return
    try:
        resources().provider.check()
    except BatchManagerError as error:
        postpone_probe(ledger, account, failed=not isinstance(error, TransientError))
        return
    if wanted is Proof.VISIBLE:
        postpone_probe(ledger, account)
    elif wanted is Proof.ANSWER or claim_probe(ledger, resources().policy) is None:
        if end_trouble(ledger, account):
            logger.info("the account works again", extra={"account": account})
    else:
        postpone_probe(ledger, account)


def bring_unsent_requests() -> int:
    """Let what waits for an account that is no longer configured wait for this one."""
    return bring_unsent(
        resources().ledger, resources().settings.account, limits=resources().retry_limits
    )


def waiting_lanes() -> list[dict[str, Any]]:
    """Return the lanes that wait, with the reason and since when."""
    with resources().ledger.transaction() as reader:
        return [row for row in lanes_report(reader) if row["wait_reason"]]
