"""What an operator does to batches and files at the provider that a sweep has shown.

Nothing here touches a batch of this installation that is under way, nor a file of one.
"""

from batching.errors import BadInput, NotFound
from batching.lifecycle import BatchState
from batching.ownership import Owner, owner_of_batch, read_stamp
from batching.provider import Phase, ProviderBatch
from storage.account_sweep import (
    Adopted,
    adopt_lost_batch,
    known_batches,
    known_files,
    live_batch_of,
    live_batch_of_file,
)
from storage.batches import batch_of
from storage.provider_files import mark_files_deleted
from tasks.adoption import members_of
from tasks.resources import resources
from tasks.sweeping import PATIENCE_SECONDS


def check_adoptable(provider_id: str) -> ProviderBatch:
    """Return a batch that may be adopted; BadInput says why it may not."""
    found = resources().provider.retrieve(provider_id)
    with resources().ledger.transaction() as reader:
        if known_batches(reader, [provider_id]):
            raise BadInput(f"batch {provider_id} is known here already: `obm status` shows it")
        ours = known_files(reader, [found.input_file_id or ""])
    owner = owner_of_batch(found, resources().installation, our_files=ours)
    if owner is Owner.OTHER_INSTALLATION:
        raise BadInput(f"batch {provider_id} was made by another installation: adopt it there")
    if found.phase is Phase.ENDED and not (found.output_file_id or found.error_file_id):
        raise BadInput(
            f"batch {provider_id} is {found.status} and has no results: there is nothing to collect"
        )
    _check_not_an_open_create(found)
    return found


def adopt(provider_id: str, *, actor: str, reason: str) -> Adopted:
    """Take a lost batch of ours into the ledger: track polls and collects it from now on."""
    found = check_adoptable(provider_id)
    adopted = adopt_lost_batch(
        resources().ledger, found, members_of(found),
        account=resources().settings.account, actor=actor, reason=reason,
    )  # fmt: skip
    if adopted.batch_id is None:
        raise BadInput(
            f"batch {provider_id} was not adopted: no request waits for its answers "
            f"({adopted.elsewhere:,} of its requests are answered or on their way in another "
            f"batch, {adopted.unknown:,} are not known here)"
        )
    return adopted


def check_cancellable(provider_id: str) -> ProviderBatch:
    """Return a batch that may be cancelled from here; BadInput says why it may not."""
    with resources().ledger.transaction() as reader:
        number = live_batch_of(reader, provider_id)
    if number is not None:
        raise BadInput(
            f"batch {provider_id} is batch {number} of this installation and under way: "
            "`obm cancel JOB` ends it in good order"
        )
    found = resources().provider.retrieve(provider_id)
    if found.phase is Phase.ENDED:
        raise BadInput(f"batch {provider_id} has ended already ({found.status})")
    _check_not_an_open_create(found)
    return found


def _check_not_an_open_create(found: ProviderBatch) -> None:
    """Refuse what may be the create of ours of which the answer is awaited."""
    stamp = read_stamp(found.metadata)
    if stamp is None or stamp.installation != resources().installation:
        return
    try:
        batch = batch_of(resources().ledger, stamp.batch_id)
    except LookupError:
        return
    if batch.provider_id is None and batch.state is BatchState.SUBMITTING:
        raise BadInput(
            f"batch {found.id} may be batch {batch.batch_id} of this installation, whose creation "
            "was not answered: it is adopted by itself"
        )


def cancel(provider_id: str, *, actor: str, reason: str) -> ProviderBatch:
    """Ask the provider to end a batch that is not ours to track; return it as it is then."""
    check_cancellable(provider_id)
    _audit("provider batch", provider_id, "cancel_requested", actor=actor, reason=reason)
    return resources().provider.cancel(provider_id)


def check_deletable(file_id: str) -> str:
    """Return what the provider calls the file; BadInput says why it may not be deleted."""
    with resources().ledger.transaction() as reader:
        number = live_batch_of_file(reader, file_id)
    if number is not None:
        raise BadInput(f"file {file_id} belongs to batch {number}, which is under way: it stays")
    try:
        name = resources().provider.file(file_id).filename or file_id
    except NotFound:
        raise BadInput(f"there is no file {file_id} at the provider (any more)") from None
    for found in resources().provider.list_batches(patience_seconds=PATIENCE_SECONDS):
        used = file_id in {found.input_file_id, found.output_file_id, found.error_file_id}
        if used and found.phase is Phase.WAITING:
            raise BadInput(
                f"file {file_id} belongs to batch {found.id}, which is {found.status}: it stays"
            )
    return name


def delete(file_id: str, *, actor: str, reason: str) -> None:
    """Delete a file at the provider that no batch needs."""
    check_deletable(file_id)
    _audit("provider file", file_id, "deleted", actor=actor, reason=reason)
    resources().provider.delete_file(file_id)
    mark_files_deleted(resources().ledger, [file_id])


def _audit(entity: str, entity_id: str, target: str, *, actor: str, reason: str) -> None:
    with resources().ledger.transaction() as transaction:
        transaction.record_move(entity, entity_id, target, reason=reason, actor=actor)
