"""Upkeep: backup, files at the provider, retention."""

import logging
from datetime import timedelta

from batching.errors import AccountRefused, TerminalError, TransientError
from batching.stopping import check_stop
from storage.backups import back_up_ledger
from storage.lanes import forget_learned_limits
from storage.ledger import now
from storage.provider_files import disposable_files, mark_files_deleted
from storage.retention import (
    forget_batch_files,
    forget_files,
    forget_outbox,
    forget_requests,
    forget_transitions,
)
from storage.segment_records import write_missing_records
from tasks.account_trouble import stop_account
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)

FILES_A_RUN = 2_000
LEARNED_LIMIT_KEPT = timedelta(days=7)
ROWS_WORTH_COMPACTING = 100_000


@step(name="back up")
def back_up() -> str:
    """Copy the ledger; return the copy's name. What a rebuild needs beside it is completed."""
    write_missing_records(resources().ledger)
    return back_up_ledger(resources().directory, keep=resources().settings.keep_backups).name


@step(name="delete provider files")
def delete_provider_files() -> int:
    """Delete files at the provider that are no longer needed; return how many are gone."""
    ledger, account = resources().ledger, resources().settings.account
    deleted: list[str] = []
    failed: list[str] = []
    for file_id in disposable_files(ledger, account, most=FILES_A_RUN):
        check_stop()
        try:
            resources().provider.delete_file(file_id)
        except AccountRefused as error:
            stop_account(account, str(error))
            break
        except TransientError as error:
            logger.warning("file not deleted", extra={"file_id": file_id, "problem": str(error)})
            break
        except TerminalError as error:
            logger.warning("file not deleted", extra={"file_id": file_id, "problem": str(error)})
            failed.append(file_id)
        else:
            deleted.append(file_id)
    mark_files_deleted(ledger, deleted, failed=failed)
    return len(deleted)


def unlearn_limits() -> int:
    """Forget token limits learned a week ago; a refusal, which costs nothing, teaches anew."""
    return forget_learned_limits(resources().ledger, before=now() - LEARNED_LIMIT_KEPT)


@step(name="forget old files")
def forget_old_files() -> int:
    """Delete what is older than its folder's retention; return how many files and requests.

    Files first: that frees space on a full disk, on which the ledger cannot be changed.
    """
    settings, directory, ledger = resources().settings, resources().directory, resources().ledger
    files = (
        forget_files(directory.archive, keep_days=settings.keep_archive_days)
        + forget_files(directory.rejected, keep_days=settings.keep_rejected_days)
        + forget_outbox(directory, keep_days=settings.keep_outbox_days)
        + forget_batch_files(ledger, keep_days=settings.keep_batches_days)
    )
    forget_transitions(ledger, keep_days=settings.keep_audit_days)
    requests = forget_requests(ledger, keep_days=settings.keep_requests_days)
    if requests >= ROWS_WORTH_COMPACTING:
        ledger.compact()
    return files + requests
