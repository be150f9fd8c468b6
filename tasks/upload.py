"""Uploading a batch's input file."""

import logging

from batching.errors import AccountRefused, TerminalError, TransientError
from batching.failure_policy import MOST_REFUSED_UPLOADS
from batching.lifecycle import BatchState
from batching.outcomes import Proof
from batching.ownership import input_file_name
from batching.refusals import TooLarge, WholeFile, refusal_of
from batching.retry import growing_pause_seconds
from storage.batch_files import input_path
from storage.batches import Batch, batch_of, mark_uploaded, postpone
from tasks.account_trouble import stop_account
from tasks.refusals import deal_with_refusal, fault_of_call
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)


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
        stop_account(batch.account, str(error), proof=Proof.CREATE, batch_id=batch_id)
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
    """Try a refused upload a few times; then treat the file as one that was refused."""
    fault = fault_of_call(error)
    refusal = refusal_of([fault])
    if not isinstance(refusal, TooLarge):
        if batch.failures + 1 < MOST_REFUSED_UPLOADS:
            _pause(batch, error)
            return
        refusal = WholeFile(code=fault.code, message=fault.message)
    deal_with_refusal(batch, refusal)
