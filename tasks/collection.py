"""Collecting an ended batch: download its files, read them, record every verdict."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from batching.clock import seen_since
from batching.errors import (
    AccountRefused,
    BadInput,
    IncompleteDownload,
    NotFound,
    ProviderUnavailable,
    RequestRefused,
    Throttled,
)
from batching.lifecycle import BatchState
from batching.outcomes import Proof
from storage.accounts import prove
from storage.answer_files import ERROR, OUTPUT
from storage.batch_files import batch_folder, error_path, output_path
from storage.batches import Batch, batch_of, note
from storage.durable import make_folder
from storage.ledger import now
from storage.packed_answers import unpack_answers
from storage.polls import note_files
from storage.results import Collected, collect_batch
from tasks.account_trouble import stop_account
from tasks.resources import due_for_next_try, our_batches, resources
from tasks.steps import step

logger = logging.getLogger(__name__)


def batches_to_collect() -> list[Batch]:
    """Return the ended batches whose next try is due."""
    return due_for_next_try(our_batches(BatchState.ENDED))


@step(name="collect", run_name="batch {batch_id}: collect")
def collect(batch_id: int) -> Collected | None:
    """Collect an ended batch; None if its files could not be read yet."""
    batch = batch_of(resources().ledger, batch_id)
    if batch.state is not BatchState.ENDED:
        return None
    make_folder(batch_folder(resources().directory, batch_id))
    try:
        if batch.unreadable_since is not None:
            batch = _with_files_as_told_now(batch)
        files, problem = _download_all(batch)
    except AccountRefused as error:
        stop_account(batch.account, str(error))
        _try_later(batch, str(error), unreadable=False)
        return None
    except (ProviderUnavailable, Throttled) as error:
        # Nobody answers: that says nothing about the files, however long it takes.
        _try_later(batch, str(error), unreadable=False)
        return None
    if problem is not None and not _grace_is_over(batch):
        _try_later(batch, problem, unreadable=True)
        return None
    collected = collect_batch(
        resources().ledger,
        batch,
        files,
        installation=resources().installation,
        complete=problem is None,
        limits=resources().retry_limits,
        cost_of=resources().cost_of,
    )
    _draw_conclusions(batch, collected)
    return collected


def _draw_conclusions(batch: Batch, collected: Collected) -> None:
    """Stop an account that could not pay; one whose probe was answered works again."""
    if collected.account_code is not None:
        stop_account(
            batch.account,
            f"requests of batch {batch.batch_id} were refused with {collected.account_code}: "
            "check credit and limits of the account",
            proof=Proof.RESULT,
            batch_id=batch.batch_id,
        )
    elif (collected.succeeded or collected.failed) and prove(
        resources().ledger, batch.batch_id, Proof.RESULT
    ):
        logger.info("the account works again", extra={"account": batch.account})


def _download_all(batch: Batch) -> tuple[dict[int, Path], str | None]:
    """Return the files that are here, and why one that should be is not."""
    directory = resources().directory
    wanted = {
        OUTPUT: (batch.output_file_id, output_path(directory, batch.batch_id)),
        ERROR: (batch.error_file_id, error_path(directory, batch.batch_id)),
    }
    files: dict[int, Path] = {}
    try:
        problem = _announced_but_absent(batch)
    except (NotFound, RequestRefused) as error:
        problem = str(error)
    for kind, (file_id, path) in wanted.items():
        if not file_id:
            continue
        try:
            if not path.exists():
                _download(file_id, path)
            files[kind] = path
        except (NotFound, RequestRefused) as error:
            problem = str(error)
        except IncompleteDownload as error:
            problem = str(error)
            if _grace_is_over(batch) and _downloaded_as_it_is(file_id, path):
                files[kind] = path
    return files, problem


def _downloaded_as_it_is(file_id: str, path: Path) -> bool:
    """Fetch a file that has never had the size that is told of it: what is in it was paid."""
    try:
        resources().provider.download(file_id, path)
        unpack_answers(path)
    except (IncompleteDownload, ProviderUnavailable, NotFound, RequestRefused):
        return False
    except BadInput:
        path.unlink(missing_ok=True)
        return False
    return True


def _download(file_id: str, path: Path) -> None:
    """Fetch a file; its size is checked against what the provider says about it."""
    provider = resources().provider
    try:
        expected_bytes = provider.file(file_id).bytes
    except (NotFound, RequestRefused):
        expected_bytes = None
    try:
        provider.download(file_id, path, expected_bytes=expected_bytes)
        unpack_answers(path)
    except BadInput as error:
        path.unlink(missing_ok=True)
        raise IncompleteDownload(str(error)) from error
    except ProviderUnavailable as error:
        # It answers, but not with this file: that is the file's trouble.
        raise IncompleteDownload(str(error)) from error


def _with_files_as_told_now(batch: Batch) -> Batch:
    """Return the batch with the ids of its files as the provider tells them now.

    Those that it told first could not be read: they may be none.
    """
    try:
        answer = resources().provider.retrieve(batch.provider_id or "")
    except (NotFound, RequestRefused):
        return batch
    told = {answer.output_file_id, answer.error_file_id} - {None}
    if told <= {batch.output_file_id, batch.error_file_id}:
        return batch
    note_files(resources().ledger, batch, answer)
    return batch_of(resources().ledger, batch.batch_id)


def _announced_but_absent(batch: Batch) -> str | None:
    """Look again for file ids that a provider shows late: without them paid results are missed."""
    if not _lacks_output(batch):
        return None
    answer = resources().provider.retrieve(batch.provider_id or "")
    if answer.output_file_id or (answer.error_file_id and not batch.error_file_id):
        note_files(resources().ledger, batch, answer)
        return "its files have only now been announced"
    return (
        f"batch {batch.provider_id} is {answer.status} with "
        f"{batch.provider_completed or 0:,} requests completed, but has no output file"
    )


def _lacks_output(batch: Batch) -> bool:
    if batch.output_file_id:
        return False
    has_no_file = not batch.error_file_id and batch.provider_status == "completed"
    return has_no_file or bool(batch.provider_completed)


def _grace_is_over(batch: Batch) -> bool:
    since = _unreadable_since(batch)
    grace = timedelta(seconds=resources().settings.results_grace_seconds)
    return since is not None and now() - since >= grace


def _unreadable_since(batch: Batch) -> datetime | None:
    """Return since when its files cannot be read, as far as somebody has looked."""
    if batch.unreadable_since is None:
        return None
    return seen_since(
        batch.unreadable_since, next_look=batch.not_before, at=now(),
        seconds=resources().settings.results_grace_seconds,
    )  # fmt: skip


def _try_later(batch: Batch, problem: str, *, unreadable: bool) -> None:
    """Come back after a pause; only files that the provider cannot show use up the grace."""
    logger.warning(
        "results not readable yet", extra={"batch_id": batch.batch_id, "problem": problem}
    )
    settings = resources().settings
    since = _unreadable_since(batch)
    waited = now() - (since or now())
    pause_seconds = min(
        max(waited.total_seconds() / 4, settings.poll_min_seconds), settings.poll_max_seconds
    )
    note(
        resources().ledger, batch.batch_id, fault_message=problem,
        unreadable_since=since or (now() if unreadable else None),
        not_before=now() + timedelta(seconds=pause_seconds),
    )  # fmt: skip
