"""Uploading a batch's input file."""

import logging

from batching.errors import AccountRefused, RequestRefused, TerminalError, TransientError
from batching.lifecycle import BatchState
from batching.ownership import input_file_name
from batching.retry import growing_pause_seconds
from storage.accounts import record_trouble
from storage.batch_files import input_path
from storage.batches import Batch, batch_of, mark_uploaded, postpone
from storage.endings import Ending, fail_requests
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)

MOST_REFUSED_UPLOADS = 3


@step(name="upload", run_name="batch {batch_id}: upload")
def upload_batch(batch_id: int) -> bool:
    """Upload the input file of a planned batch; return whether the provider has it."""
    batch = batch_of(resources().ledger, batch_id)
    if batch.state is not BatchState.PLANNED:
        return batch.state is BatchState.UPLOADED
    path = input_path(resources().directory, batch_id)
    try:
        name = input_file_name(resources().installation, batch_id)
        uploaded = resources().provider.upload(path, filename=name)
    except TransientError as error:
        _pause(batch, error)
        return False
    except AccountRefused as error:
        record_trouble(resources().ledger, batch.account, str(error))
        return False
    except TerminalError as error:
        _give_up_or_pause(batch, error)
        return False
    mark_uploaded(resources().ledger, batch, input_file_id=uploaded.id)
    return True


def _pause(batch: Batch, error: Exception) -> None:
    settings = resources().settings
    pause_seconds = growing_pause_seconds(
        batch.failures + 1,
        first_seconds=settings.poll_min_seconds,
        longest_seconds=settings.capacity_backoff_max_seconds,
    )
    postpone(resources().ledger, batch, problem=str(error), pause_seconds=pause_seconds)
    logger.warning("upload failed", extra={"batch_id": batch.batch_id, "problem": str(error)})


def _give_up_or_pause(batch: Batch, error: TerminalError) -> None:
    """Try a refused upload a few times; then its requests fail with the provider's reason."""
    if batch.failures + 1 < MOST_REFUSED_UPLOADS:
        _pause(batch, error)
        return
    code = error.code if isinstance(error, RequestRefused) else None
    ending = Ending(code=code or "upload_refused", reason=str(error))
    with resources().ledger.transaction() as transaction:
        fail_requests(transaction, batch, ending, request_code="obm_batch_refused")
