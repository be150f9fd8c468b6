"""What lies at the provider that this installation does not know: listed a page at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

from batching.ownership import Owner, owner_of_batch, owner_of_file, read_stamp
from batching.provider import Phase, ProviderBatch, ProviderFile
from storage.account_sweep import known_batches, known_files
from tasks.resources import resources
from tasks.sweeping import PATIENCE_SECONDS

_PURPOSES = ("batch", "batch_output")
_A_LOOK = 100
_Listed = TypeVar("_Listed")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownBatch:
    """A batch at the provider that the ledger does not know."""

    id: str
    owner: Owner
    status: str
    is_live: bool
    created_at: datetime | None
    model: str | None
    total: int | None
    completed: int | None
    failed: int | None
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    installation: str | None
    number: int | None
    """The batch's number in its installation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownFile:
    """A file at the provider that the ledger does not know."""

    id: str
    owner: Owner
    purpose: str | None
    filename: str | None
    bytes: int | None
    created_at: datetime | None
    batch: str | None
    """The unknown batch that it belongs to, as far as one was listed."""


class AccountFindings:
    """One look through the account; batches first, as they say whose their files are."""

    def __init__(self) -> None:
        self._owner_of: dict[str, tuple[Owner, str]] = {}
        self.listed_batches = 0
        self.listed_files = 0

    def batches(self) -> Iterator[UnknownBatch]:
        """Yield the batches that the ledger does not know, as the provider lists them."""
        listing = resources().provider.list_batches(patience_seconds=PATIENCE_SECONDS)
        for page in _pages(listing):
            self.listed_batches += len(page)
            with resources().ledger.transaction() as reader:
                known = known_batches(reader, [found.id for found in page])
                ours = known_files(reader, [found.input_file_id or "" for found in page])
            for found in page:
                if found.id not in known:
                    yield self._batch(found, ours)

    def files(self) -> Iterator[UnknownFile]:
        """Yield the files that the ledger does not know, inputs first."""
        for purpose in _PURPOSES:
            listing = resources().provider.list_files(purpose, patience_seconds=PATIENCE_SECONDS)
            for page in _pages(listing):
                self.listed_files += len(page)
                with resources().ledger.transaction() as reader:
                    known = known_files(reader, [found.id for found in page])
                for found in page:
                    if found.id not in known:
                        yield self._file(found)

    def _batch(self, found: ProviderBatch, our_files: frozenset[str]) -> UnknownBatch:
        owner = owner_of_batch(found, resources().installation, our_files=our_files)
        for file_id in (found.input_file_id, found.output_file_id, found.error_file_id):
            if file_id is not None and owner is not Owner.FOREIGN:
                self._owner_of[file_id] = (owner, found.id)
        stamp = read_stamp(found.metadata)
        return UnknownBatch(
            id=found.id,
            owner=owner,
            status=found.status,
            is_live=found.phase is Phase.WAITING,
            created_at=found.created_at,
            model=found.model,
            total=found.total,
            completed=found.completed,
            failed=found.failed,
            input_file_id=found.input_file_id,
            output_file_id=found.output_file_id,
            error_file_id=found.error_file_id,
            installation=stamp.installation if stamp else None,
            number=stamp.batch_id if stamp else None,
        )

    def _file(self, found: ProviderFile) -> UnknownFile:
        by_name = owner_of_file(found, resources().installation)
        owner, batch = self._owner_of.get(found.id, (by_name, None))
        return UnknownFile(
            id=found.id,
            owner=owner,
            purpose=found.purpose,
            filename=found.filename,
            bytes=found.bytes,
            created_at=found.created_at,
            batch=batch,
        )


def _pages(listing: Iterable[_Listed]) -> Iterator[list[_Listed]]:
    entries = iter(listing)
    while page := list(islice(entries, _A_LOOK)):
        yield page
