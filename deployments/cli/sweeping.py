"""`obm sweep`: what lies at the provider that nobody here knows, and what is done about it.

The account may hold any number of batches and files, so what is found is printed as it comes.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import typer

from batching.errors import BadInput
from batching.ownership import Owner
from deployments.cli.status_page import ago
from deployments.cli.steering import actor
from deployments.cli.surroundings import existing_directory, load_settings, print_json, say
from storage.ledger import now
from storage.submission_lock import submission_lock, unlock_submission
from tasks import account_actions
from tasks.account_findings import AccountFindings, UnknownBatch, UnknownFile
from tasks.resources import Resources, resources, using
from tasks.sweeping import end_submission_lock

_ADVICE = {
    Owner.OURS: "`--adopt` collects its results",
    Owner.OTHER_INSTALLATION: "leave it to its installation",
    Owner.FOREIGN: "not made by this software",
}


class Wish(NamedTuple):
    """What an operator wants done, and to what."""

    verb: str
    target: str


@contextmanager
def _working() -> Iterator[None]:
    settings = load_settings()
    existing_directory(settings)
    found = Resources(settings)
    with using(found), closing(found):
        yield


def show_sweep(*, as_json: bool) -> None:
    """Print every batch and file that the ledger does not know; end the lock if there is one."""
    with _working():
        lock = _end_lock(quiet=as_json)
        findings = AccountFindings()
        if as_json:
            _print_json(findings, lock)
        else:
            _print_text(findings)


def _end_lock(*, quiet: bool) -> dict[str, Any] | None:
    """Sweep for our own batches if submission is locked; return what came of it."""
    # The function itself: a Prefect task would want a server for its story.
    sweep = end_submission_lock.fn(actor(), at_once=True)
    if sweep is None:
        return None
    with resources().ledger.transaction() as reader:
        lock = submission_lock(reader)
    told = asdict(sweep) | {"still_locked": None if lock is None else lock.sentence}
    if not quiet:
        found = f"{sweep.followed + sweep.adopted:,} batches of ours were taken up again"
        say(f"After a restore or rebuild: {found}.")
        if lock is None:
            say("Requests are sent again.", style="green")
        else:
            say(f"{lock.sentence}.", style="red")
    return told


def _print_text(findings: AccountFindings) -> None:
    at, seen = now(), 0
    for batch in findings.batches():
        seen += 1
        say(_batch_line(batch, at))
    for file in findings.files():
        seen += 1
        say(_file_line(file, at))
    looked = f"{findings.listed_batches:,} batches and {findings.listed_files:,} files"
    if seen:
        say(f"{looked} were looked through; {seen:,} of them are not known here.")
    else:
        say(f"{looked} were looked through: this installation knows them all.", style="green")


def _batch_line(batch: UnknownBatch, at: datetime) -> str:
    counts = f"{batch.completed or 0:,} of {batch.total or 0:,} done, {batch.failed or 0:,} failed"
    whose = batch.owner.value + (f" ({batch.installation})" if batch.installation else "")
    advice = _ADVICE[batch.owner]
    return f"batch {batch.id}  {whose}  {batch.status}  {_age(batch.created_at, at)}  {counts}; {advice}"  # noqa: E501 - one line a batch


def _file_line(file: UnknownFile, at: datetime) -> str:
    size = "size unknown" if file.bytes is None else f"{file.bytes:,} bytes"
    of_batch = f" of {file.batch}" if file.batch else ""
    named = f"  {file.filename}" if file.filename else ""
    return f"file {file.id}  {file.owner.value}{of_batch}  {file.purpose}  {_age(file.created_at, at)}  {size}{named}"  # noqa: E501 - one line a file


def _age(created_at: datetime | None, at: datetime) -> str:
    return "age unknown" if created_at is None else f"{ago(created_at, at)} old"


def _print_json(findings: AccountFindings, lock: dict[str, Any] | None) -> None:
    """Print one JSON object, entry by entry."""
    out, at = sys.stdout, now()
    out.write(f'{{"submission_lock": {json.dumps(lock)},\n"batches": ')
    _print_list(findings.batches(), at)
    out.write(',\n"files": ')
    _print_list(findings.files(), at)
    counts = {"batches": findings.listed_batches, "files": findings.listed_files}
    out.write(f',\n"looked_through": {json.dumps(counts)}}}\n')


def _print_list(entries: Iterable[UnknownBatch | UnknownFile], at: datetime) -> None:
    sys.stdout.write("[")
    for number, entry in enumerate(entries):
        age = None if entry.created_at is None else int((at - entry.created_at).total_seconds())
        text = json.dumps(asdict(entry) | {"age_seconds": age}, default=_plain)
        sys.stdout.write(("," if number else "") + "\n" + text)
    sys.stdout.write("]")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def act(wish: Wish, *, reason: str | None, sure: bool, as_json: bool) -> None:
    """Do one thing to one batch or file, after asking; the audit trail keeps who and why."""
    with _working():
        question, do = _ACTIONS[wish.verb](wish.target, reason or "wished by an operator")
        if not sure and not _confirmed(question):
            say("Nothing was changed.")
            return
        done = do()
    if as_json:
        print_json({"action": wish.verb, "target": wish.target, "done": done})
    else:
        say(done)


_Prepared = tuple[str, Callable[[], str]]


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise BadInput(f"{question} Say so with --yes")
    return typer.confirm(f"{question} Go on?")


def _adopt(provider_id: str, reason: str) -> _Prepared:
    found = account_actions.check_adoptable(provider_id)

    def do() -> str:
        adopted = account_actions.adopt(provider_id, actor=actor(), reason=reason)
        rest = "".join(
            f"; {count:,} of its lines {why}"
            for count, why in (
                (adopted.elsewhere, "belong to requests that are answered or on their way already"),
                (adopted.unknown, "belong to no request that is known here"),
            )
            if count
        )
        return (
            f"Batch {provider_id} is batch {adopted.batch_id} here: {adopted.requests:,} requests "
            f"wait for its answers{rest}."
        )

    return f"Batch {provider_id} ({found.status}) is taken in and its results collected.", do


def _cancel(provider_id: str, reason: str) -> _Prepared:
    found = account_actions.check_cancellable(provider_id)

    def do() -> str:
        after = account_actions.cancel(provider_id, actor=actor(), reason=reason)
        return f"Batch {provider_id} is {after.status}; what ran before is paid."

    done = f"{found.completed or 0:,} of {found.total or 0:,} requests done"
    question = f"Batch {provider_id} ({found.status}, {done}) ends at the provider, "
    return question + "for whoever made it.", do


def _delete(file_id: str, reason: str) -> _Prepared:
    name = account_actions.check_deletable(file_id)

    def do() -> str:
        account_actions.delete(file_id, actor=actor(), reason=reason)
        return f"File {file_id} is deleted."

    return f"File {file_id} ({name}) is deleted at the provider, and cannot be brought back.", do


def _unlock(_target: str, reason: str) -> _Prepared:
    with resources().ledger.transaction() as reader:
        lock = submission_lock(reader)
    if lock is None:
        raise BadInput("submission is not locked: there is nothing to unlock")

    def do() -> str:
        unlock_submission(resources().ledger, reason=reason, actor=actor())
        return "Requests are sent again."

    risk = "what a batch holds that nobody knows here is bought a second time"
    return f"{lock.sentence}. If requests are sent now, {risk}.", do


_ACTIONS: dict[str, Callable[[str, str], _Prepared]] = {
    "adopt": _adopt,
    "cancel": _cancel,
    "delete": _delete,
    "unlock": _unlock,
}
