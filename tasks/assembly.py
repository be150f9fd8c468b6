"""Assembling a batch: claim requests of a lane, write its manifest and input file."""

from batching.lifecycle import BatchState
from storage.accounts import live_probe, trouble_of
from storage.batch_files import write_batch_files
from storage.batches import Batch, batch_of
from storage.claims import claim_next
from storage.submission_lock import submission_lock
from tasks.resources import due_for_next_try, our_batches, resources
from tasks.steps import step


def next_batch() -> Batch | None:
    """Return the next batch to work on: one that was left half-way, else a fresh claim."""
    claimed = claim_next(resources().ledger, resources().policy)
    return None if claimed is None else batch_of(resources().ledger, claimed)


def unfinished_batches() -> list[Batch]:
    """Return batches that were claimed or uploaded earlier and whose pause is over.

    While the account is stopped only its probe, as each other upload would be refused again;
    none while submission is locked.
    """
    account = resources().settings.account
    with resources().ledger.transaction() as reader:
        if submission_lock(reader):
            return []
        stopped, probe = trouble_of(reader, account) is not None, live_probe(reader, account)
    waiting = our_batches(BatchState.PLANNED, BatchState.UPLOADED)
    if stopped:
        waiting = [batch for batch in waiting if batch.batch_id == probe]
    return due_for_next_try(waiting)


@step(name="assemble", run_name="batch {batch_id}: assemble")
def assemble_batch(batch_id: int) -> None:
    """Write the files of a planned batch; done again, they come out the same."""
    batch = batch_of(resources().ledger, batch_id)
    if batch.state is BatchState.PLANNED:
        write_batch_files(
            resources().ledger,
            installation=resources().installation,
            batch_id=batch_id,
            endpoint=batch.endpoint,
        )
