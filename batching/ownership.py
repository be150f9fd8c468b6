"""Whose a batch or file at the provider is: what we write on it, and how we know it again."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from batching.provider import ProviderBatch, ProviderFile

_INSTALLATION, _BATCH, _ATTEMPT = "obm_installation", "obm_batch", "obm_attempt"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What this software writes into the metadata of a batch that it creates."""

    installation: str
    batch_id: int
    attempt: int
    """How often the same batch was created before and with it; 0 stands for any."""

    def as_metadata(self) -> dict[str, str]:
        """Return the stamp as the provider keeps it."""
        return {
            _INSTALLATION: self.installation,
            _BATCH: str(self.batch_id),
            _ATTEMPT: str(self.attempt),
        }


def read_stamp(metadata: Mapping[str, str]) -> Stamp | None:
    """Return the stamp in a batch's metadata, or None if no installation has put one there."""
    batch, attempt = metadata.get(_BATCH, ""), metadata.get(_ATTEMPT, "")
    if not metadata.get(_INSTALLATION) or not batch.isdecimal():
        return None
    return Stamp(
        installation=metadata[_INSTALLATION],
        batch_id=int(batch),
        attempt=int(attempt) if attempt.isdecimal() else 0,
    )


def match_create(
    listed: Iterable[ProviderBatch],
    *,
    metadata: Mapping[str, str],
    input_file_id: str | None,
    known: Collection[str],
    since: datetime,
) -> ProviderBatch | None:
    """Return the listed batch that our unanswered create made, if any.

    A server that keeps metadata decides by it; one that drops it, by the input file. If several
    have our metadata, the one of our file is meant. An attempt of 0 means that the ledger does
    not know how often the batch was created: then the last attempt is meant.
    """
    wanted = dict(metadata)
    any_attempt = wanted.get(_ATTEMPT) == "0"
    if any_attempt:
        del wanted[_ATTEMPT]

    def is_ours(candidate: ProviderBatch) -> bool:
        if candidate.id in known or (candidate.created_at and candidate.created_at < since):
            return False
        told = {key: candidate.metadata.get(key) for key in wanted}
        same_file = input_file_id is not None and candidate.input_file_id == input_file_id
        return told == wanted or (not any(told.values()) and same_file)

    ours = [candidate for candidate in listed if is_ours(candidate)]
    if any_attempt:
        return max(ours, key=_how_late, default=None)
    of_our_file = (candidate for candidate in ours if candidate.input_file_id == input_file_id)
    return next(of_our_file, ours[0] if ours else None)


def _how_late(candidate: ProviderBatch) -> tuple[int, datetime]:
    stamp = read_stamp(candidate.metadata)
    return (stamp.attempt if stamp else 0, candidate.created_at or _LONG_AGO)


class Owner(StrEnum):
    """Whose something at the provider is that the ledger does not know."""

    OURS = "ours, lost"
    """This installation made it and has no record of it."""
    OTHER_INSTALLATION = "another installation's"
    FOREIGN = "foreign"
    """Nothing tells that this software made it."""


def owner_of_batch(
    batch: ProviderBatch, installation: str, *, our_files: Collection[str] = ()
) -> Owner:
    """Return whose a batch is that the ledger does not know."""
    stamp = read_stamp(batch.metadata)
    if stamp is not None:
        return Owner.OURS if stamp.installation == installation else Owner.OTHER_INSTALLATION
    return Owner.OURS if batch.input_file_id in our_files else Owner.FOREIGN


def input_file_name(installation: str, batch_id: int) -> str:
    """Return the name under which an input file is uploaded; it says whose it is."""
    return f"obm-{installation}-batch-{batch_id:06d}.jsonl"


def owner_of_file(file: ProviderFile, installation: str) -> Owner:
    """Return whose an input file is, by its name."""
    name = file.filename or ""
    if name.startswith(f"obm-{installation}-batch-"):
        return Owner.OURS
    return Owner.OTHER_INSTALLATION if name.startswith("obm-") else Owner.FOREIGN
