"""The staging folders: which dropped files are complete, and where each of them is moved.

A file is claimed by renaming it, its side file first: a crash between the two leaves a side
file without its source, which the next claim puts back. On the way out the side file goes
first as well, so a source in `claimed/` is always the one that still has something to do.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from batching.clock import age_seconds, now
from batching.errors import BadInput
from batching.jobs import SIDE_FILE_SUFFIX, JobSettings, read_job_settings, side_file_name
from storage.directory import DataDirectory
from storage.durable import move, sync_file, sync_folder, write_durably
from storage.formats import ends_well
from storage.log_files import is_log

_UNFINISHED_NAMES: Final = (".part", ".tmp")
_PATIENCE: Final = 10
"""A file without a proper end is taken (and refused) after this many times the usual wait."""
_LONGEST_NAME_BYTES: Final = 180
_MILLISECOND: Final = timedelta(milliseconds=1)
_CLOSE_BY: Final = timedelta(seconds=1)
"""Further behind the last claim is only a clock that was put back."""
_CLAIMED_NAME: Final = re.compile(r"(\d{8}T\d{9}-[0-9a-f]{4})__(.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedFile:
    """A source that belongs to the pipeline until it is archived, rejected or deleted."""

    source_id: str
    name: str
    """The name under which it was dropped, shortened if it is too long to be kept."""
    path: Path
    side_file: Path | None


def claimable_files(
    directory: DataDirectory, *, stable_seconds: float, closing_now: bool = False
) -> list[Path]:
    """Return the files of the inbox that are complete, oldest first.

    With `closing_now` a file that ends well need not have stood still for a while.
    """
    at = now()
    candidates = []
    for entry in _sources_in(directory.inbox):
        try:
            status = entry.stat()
        except OSError:  # it was taken away while we looked
            continue
        path = Path(entry.path)
        if _is_complete(path, status, at, stable_seconds) or (
            closing_now and _looks_ended(path, status)
        ):
            candidates.append((status.st_mtime_ns, entry.name, path))
    return [path for _, _, path in sorted(candidates)]


def is_complete(path: Path, *, stable_seconds: float) -> bool:
    """Return whether a file has stood still for a while and ends well, or for ten times as long."""
    return _is_complete(path, path.stat(), now(), stable_seconds)


def holds_unclaimed_files(directory: DataDirectory) -> bool:
    """Return whether a file lies in the inbox that is not complete yet."""
    return any(True for _ in _sources_in(directory.inbox))


def claim(directory: DataDirectory, path: Path) -> ClaimedFile | None:
    """Move a file of the inbox and its side file to `claimed/`; None if it has gone away."""
    source_id, name = _new_source_id(), _kept_name(path.name)
    side_file = path.with_name(side_file_name(path.name))
    claimed_side = directory.claimed / f"{source_id}__{side_file_name(name)}"
    claimed_path = directory.claimed / f"{source_id}__{name}"
    _sync_if_readable(side_file)
    _sync_if_readable(path)
    # A cut may undo the renaming: then the file must still be where its sender has put it.
    sync_folder(path.parent)
    has_side_file = _moved(side_file, claimed_side)
    if not _moved(path, claimed_path):
        if has_side_file:
            move(claimed_side, side_file)
        return None
    return ClaimedFile(
        source_id=source_id,
        name=name,
        path=claimed_path,
        side_file=claimed_side if has_side_file else None,
    )


def claimed_sources(directory: DataDirectory) -> list[ClaimedFile]:
    """Return what was claimed and is not done, oldest first; a crash may have left some.

    A source that comes back because it has grown finds its side file in the archive.
    """
    found = []
    for entry in _sources_in(directory.claimed):
        if match := _CLAIMED_NAME.fullmatch(entry.name):
            side_name = f"{match[1]}__{side_file_name(match[2])}"
            places = (folder / side_name for folder in (directory.claimed, directory.archive))
            found.append(
                ClaimedFile(
                    source_id=match[1],
                    name=match[2],
                    path=Path(entry.path),
                    side_file=next((place for place in places if place.exists()), None),
                )
            )
    return sorted(found, key=lambda claimed: claimed.source_id)


def put_back_side_files(directory: DataDirectory) -> int:
    """Return side files to the inbox whose source a crash left there; return how many.

    Only the one who claims may call this: while it claims, this is how a claim looks.
    """
    sources = {claimed.source_id for claimed in claimed_sources(directory)}
    count = 0
    for path in sorted(directory.claimed.glob(f"*{SIDE_FILE_SUFFIX}")):
        match = _CLAIMED_NAME.fullmatch(path.name)
        if match is None or match[1] in sources:
            continue
        original = directory.inbox / match[2]
        if original.exists():
            path.unlink()
        else:
            move(path, original)
        count += 1
    return count


def read_side_file(claimed: ClaimedFile) -> JobSettings:
    """Return the job settings beside a source, the defaults if there are none."""
    if claimed.side_file is None:
        return JobSettings()
    try:
        return read_job_settings(claimed.side_file.read_bytes())
    except OSError as error:
        raise BadInput(f"the side file cannot be read: {error.strerror}") from error


def archive(directory: DataDirectory, claimed: ClaimedFile) -> Path:
    """Move a source that was taken in, and its side file, to `archive/`."""
    return _put_away(claimed, directory.archive)


def discard(claimed: ClaimedFile) -> None:
    """Delete a source that was taken in and that nobody wants back."""
    for path in (claimed.side_file, claimed.path):
        if path is not None:
            path.unlink(missing_ok=True)
    sync_folder(claimed.path.parent)


def reject_whole(directory: DataDirectory, claimed: ClaimedFile, reason: str) -> Path:
    """Move a source that cannot be used to `rejected/`, with its reason beside it."""
    explanation = {
        "file": claimed.name,
        "reason": reason,
        "rejected_at": now().isoformat(timespec="seconds"),
    }
    text = msgspec.json.format(msgspec.json.encode(explanation), indent=2) + b"\n"
    write_durably(directory.rejected / f"{claimed.path.name}.reason.json", text)
    return _put_away(claimed, directory.rejected)


def _sources_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if _may_be_source(entry.name) and entry.is_file():
                yield entry


def _may_be_source(name: str) -> bool:
    return (
        not name.startswith(".")
        and not name.lower().endswith((*_UNFINISHED_NAMES, SIDE_FILE_SUFFIX))
        and not is_log(name)
    )


def _is_complete(path: Path, status: os.stat_result, at: datetime, stable_seconds: float) -> bool:
    is_ahead = status.st_mtime > at.timestamp()  # then it is whatever the user has set
    changed = status.st_ctime if is_ahead else status.st_mtime
    # Changed later than now: before the clock was put back, and not since.
    stood_still_seconds = age_seconds(datetime.fromtimestamp(changed, UTC), at)
    if stood_still_seconds < stable_seconds:
        return False
    if stood_still_seconds >= stable_seconds * _PATIENCE:
        return True
    return _looks_ended(path, status)


def _looks_ended(path: Path, status: os.stat_result) -> bool:
    return _ends_well(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _ends_well(path: str, _inode: int, _size: int, _changed_ns: int) -> bool:
    """Remember the answer for as long as the file stands still: gzip must be unpacked for it."""
    try:
        return ends_well(Path(path))
    except OSError:
        return False


_latest_claim = [datetime.min.replace(tzinfo=UTC)]


def _new_source_id() -> str:
    """Return an id that sorts behind the one before, although that is of the same millisecond."""
    moment = now()
    if timedelta() <= _latest_claim[0] - moment + _MILLISECOND < _CLOSE_BY:
        moment = _latest_claim[0] + _MILLISECOND
    _latest_claim[0] = moment
    milliseconds = moment.microsecond // 1000
    return f"{moment:%Y%m%dT%H%M%S}{milliseconds:03d}-{secrets.token_hex(2)}"


def _kept_name(name: str) -> str:
    """Return a name that can be stored as text and still has room for what is added to it."""
    visible = "".join(character if character.isprintable() else "_" for character in name)
    encoded = visible.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_NAME_BYTES:
        return encoded.decode()
    endings = "".join(Path(name).suffixes[-2:])[-20:]
    return encoded[: _LONGEST_NAME_BYTES - 20].decode("utf-8", "ignore") + endings


def _sync_if_readable(path: Path) -> None:
    """Put on the disk what its writer left to the system: from now on it is ours to keep."""
    with suppress(FileNotFoundError, PermissionError):
        sync_file(path)


def _moved(source: Path, target: Path) -> bool:
    try:
        move(source, target)
    except FileNotFoundError:
        return False
    return True


def _put_away(claimed: ClaimedFile, folder: Path) -> Path:
    target = folder / claimed.path.name
    if claimed.side_file is not None:
        _moved(claimed.side_file, folder / claimed.side_file.name)
    _moved(claimed.path, target)
    return target
