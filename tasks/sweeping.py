"""The sweep that ends the lock on submission: every batch of ours at the provider is ours again.

The same matching settles a create that was never answered (`tasks.creation`).
"""

import logging
from dataclasses import dataclass, field

from batching.errors import AccountRefused, BatchManagerError, StopRequested
from batching.lifecycle import BatchState
from batching.ownership import Stamp, match_create, read_stamp
from batching.provider import Phase, ProviderBatch
from storage.account_sweep import adopt_lost_batch, note_listed, open_since
from storage.batches import Batch, adopt_create, known_provider_ids
from storage.ledger import now
from storage.submission_lock import postpone_sweep, submission_lock, unlock_submission
from tasks.account_trouble import stop_account
from tasks.adoption import members_of
from tasks.creation import LISTED_BEFORE_INTENT
from tasks.resources import our_batches, resources
from tasks.steps import step

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""So long pauses that the provider asks for are kept during one sweep."""


@dataclass(kw_only=True)
class Sweep:
    """What a sweep of the account has done."""

    listed: int = 0
    followed: int = 0
    """Batches of the ledger that were found at the provider."""
    adopted: int = 0
    """Batches that the ledger did not know."""
    problems: list[str] = field(default_factory=list)
    """Live batches of ours of which nobody can tell what is in them."""


@step(name="sweep the account")
def end_submission_lock(actor: str = "pipeline", *, at_once: bool = False) -> Sweep | None:
    """Sweep the account if submission is locked and that is due; unlock if all of ours is known.

    None: it was not locked, or the sweep is due later.
    """
    ledger = resources().ledger
    with ledger.transaction() as reader:
        lock = submission_lock(reader)
    if lock is None or not (at_once or lock.is_due(now())):
        return None
    try:
        sweep = adopt_our_batches(actor)
    except StopRequested:
        raise
    except BatchManagerError as error:
        if isinstance(error, AccountRefused):
            stop_account(resources().settings.account, str(error))
        postpone_sweep(ledger, problem=f"the sweep failed: {error}")
        logger.warning("sweep failed", extra={"problem": str(error)})
        return Sweep(problems=[str(error)])
    if sweep.problems:
        postpone_sweep(ledger, problem="; ".join(sweep.problems[:3]))
        return sweep
    unlock_submission(
        ledger, actor=actor,
        reason=f"{sweep.listed} batches looked through, {sweep.followed + sweep.adopted} are ours",
    )  # fmt: skip
    return sweep


def adopt_our_batches(actor: str) -> Sweep:
    """Look through the account's batches and take those of ours into the ledger again."""
    sweep = Sweep()
    ours = _listed_of_ours(sweep)
    known = known_provider_ids(resources().ledger)
    in_ledger = our_batches(BatchState.SUBMITTING, BatchState.SUBMITTED)
    for batch in in_ledger:
        found = _newest_create(batch, ours.get(batch.batch_id, []), known)
        if found is not None:
            sweep.followed += adopt_create(
                resources().ledger, batch, found, actor=actor,
                reason="found at the provider after a restore",
            )  # fmt: skip
            known |= {found.id}
    numbers = {batch.batch_id for batch in in_ledger}
    for number, candidates in sorted(ours.items()):
        for found in candidates:
            if found.id not in known and number not in numbers:
                _take_lost(found, sweep, actor)
    return sweep


def _listed_of_ours(sweep: Sweep) -> dict[int, list[ProviderBatch]]:
    """Return the listed batches of this installation by number, as far as they can matter."""
    with resources().ledger.transaction() as reader:
        since = open_since(reader)
    after = None if since is None else since - LISTED_BEFORE_INTENT
    ours: dict[int, list[ProviderBatch]] = {}
    listing = resources().provider.list_batches(after, patience_seconds=PATIENCE_SECONDS)
    for found in listing:
        sweep.listed += 1
        stamp = read_stamp(found.metadata)
        if stamp is not None and stamp.installation == resources().installation:
            ours.setdefault(stamp.batch_id, []).append(found)
    return ours


def _newest_create(
    batch: Batch, candidates: list[ProviderBatch], known: frozenset[str]
) -> ProviderBatch | None:
    """Return the create of the batch that counts, if it is not the one that the ledger has."""
    stamp = Stamp(installation=resources().installation, batch_id=batch.batch_id, attempt=0)
    found = match_create(
        candidates, metadata=stamp.as_metadata(), input_file_id=None, known=known,
        since=(batch.intent_at or now()) - LISTED_BEFORE_INTENT,
    )  # fmt: skip
    if found is None or batch.state is BatchState.SUBMITTING:
        return found
    theirs = read_stamp(found.metadata)
    return found if theirs and theirs.attempt > batch.create_attempt else None


def _take_lost(found: ProviderBatch, sweep: Sweep, actor: str) -> None:
    """Adopt a batch that the ledger does not know, if anything was or will be paid for it."""
    if note_listed(resources().ledger, found):
        return
    if found.phase is Phase.ENDED and not (found.output_file_id or found.error_file_id):
        return
    try:
        members = members_of(found)
    except (AccountRefused, StopRequested):
        raise
    except BatchManagerError as error:
        sweep.problems.append(
            f"batch {found.id} ({found.status}) is ours, but nobody can tell what is in it: "
            f"{error} Say `obm sweep --unlock` if nothing of it waits here"
        )
        return
    adopted = adopt_lost_batch(
        resources().ledger, found, members, account=resources().settings.account, actor=actor,
        reason="found at the provider after a restore",
    )  # fmt: skip
    sweep.adopted += adopted.batch_id is not None
