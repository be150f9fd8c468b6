"""Files that were sent and wait for a word: nothing of them is taken in before it is given.

Each lies in a hidden folder beside what is being received, under its own name and with its side
file, as it will lie in the inbox. A folder without its file is one that somebody is just filling
or clearing.
"""

import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from batching.jobs import job_name_of, side_file_name
from storage.directory import DataDirectory
from storage.durable import disk_errors, write_durably
from storage.inbox import hand_over
from storage.locks import exclusive_lock
from storage.uploaded_files import UploadedFile, job_with_content

KEPT_SECONDS: Final = 24 * 3600.0
"""How long nobody may want a file before it is deleted."""
_PREFIX: Final = ".held-"
_ABOUT: Final = ".about.json"
_ID: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldFile:
    """A file that waits."""

    held: str
    """Its id."""
    file: str
    bytes: int
    held_at: datetime
    job: str
    """The job that it would make or join."""
    earlier_job: str | None
    """The job that took in the same content before."""
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedFile:
    """A file that waits no more."""

    file: str
    """Its name in the inbox."""
    job: str
    bytes: int
    duplicate: bool
    """Whether the same content was taken in before, so that nothing was done."""


class _About(msgspec.Struct, kw_only=True):
    file: str
    content_hash: str
    side_settings: dict[str, Any]
    earlier_job: str | None


def hold(
    directory: DataDirectory, upload: UploadedFile, name: str, *, side_settings: Mapping[str, Any]
) -> HeldFile:
    """Let a complete upload wait under this name instead of handing it over."""
    remove_forgotten_files(directory)
    held = secrets.token_hex(8)
    about = _About(
        file=name,
        content_hash=upload.content_hash,
        side_settings=dict(side_settings),
        earlier_job=_earlier_job(directory, upload.content_hash, side_settings),
    )
    folder = _folder(directory, held)
    with disk_errors(folder):
        folder.mkdir()
    write_durably(folder / _ABOUT, msgspec.json.encode(about))
    if side_settings:
        write_durably(folder / side_file_name(name), msgspec.json.encode(about.side_settings))
    upload.move_to(folder / name)
    return _held(held, about, folder / name)


def held_files(directory: DataDirectory) -> list[HeldFile]:
    """Return the files that wait, oldest first."""
    names = (path.name.removeprefix(_PREFIX) for path in directory.receiving.glob(f"{_PREFIX}*"))
    found = [held for name in names if (held := held_file(directory, name)) is not None]
    return sorted(found, key=lambda held: held.held_at)


def held_file(directory: DataDirectory, held: str) -> HeldFile | None:
    """Return the file of this id, None if it does not wait here (any more)."""
    about = _about(directory, held)
    if about is None:
        return None
    try:
        return _held(held, about, _folder(directory, held) / about.file)
    except FileNotFoundError:
        return None


def start_held_file(
    directory: DataDirectory,
    held: str,
    *,
    again: bool = False,
    side_settings: Mapping[str, Any] | None = None,
) -> StartedFile | None:
    """Put a file that waits into the inbox; return None if it does not wait (any more).

    Content that was taken in before is not, unless `again` is set: it would be paid anew. Side
    settings count before those that the file came with.
    """
    with exclusive_lock(directory.locks / "held.lock"):
        waiting, about = held_file(directory, held), _about(directory, held)
        if waiting is None or about is None:
            return None
        settings = about.side_settings | dict(side_settings or {})
        settings |= {"again": True} if again else {}
        earlier = _earlier_job(directory, about.content_hash, settings)
        if earlier is not None:
            started = StartedFile(
                file=waiting.file, job=earlier, bytes=waiting.bytes, duplicate=True
            )
        else:
            place = hand_over(directory, waiting.path, waiting.file, side_settings=settings)
            job = settings.get("label") or job_name_of(place.name)
            started = StartedFile(file=place.name, job=job, bytes=waiting.bytes, duplicate=False)
        _clear(_folder(directory, held))
        return started


def discard_held_file(directory: DataDirectory, held: str) -> bool:
    """Delete a file that waits; return whether it did."""
    with exclusive_lock(directory.locks / "held.lock"):
        waits = held_file(directory, held) is not None
        if waits:
            _clear(_folder(directory, held))
        return waits


def remove_forgotten_files(directory: DataDirectory) -> int:
    """Delete what nobody has wanted for a day; return how many."""
    # Not while one of them is started: its side file would come into the inbox without it.
    with exclusive_lock(directory.locks / "held.lock"):
        folders = list(directory.receiving.glob(f"{_PREFIX}*"))
        forgotten = [folder for folder in folders if _is_forgotten(folder)]
        for folder in forgotten:
            _clear(folder)
        return len(forgotten)


def _is_forgotten(folder: Path) -> bool:
    try:
        return folder.stat().st_mtime < time.time() - KEPT_SECONDS
    except FileNotFoundError:
        return False


def _held(held: str, about: _About, path: Path) -> HeldFile:
    status = path.stat()
    return HeldFile(
        held=held,
        file=about.file,
        bytes=status.st_size,
        held_at=datetime.fromtimestamp(status.st_mtime, UTC),
        job=about.side_settings.get("label") or job_name_of(about.file),
        earlier_job=about.earlier_job,
        path=path,
    )


def _about(directory: DataDirectory, held: str) -> _About | None:
    if not _ID.fullmatch(held):
        return None
    try:
        text = (_folder(directory, held) / _ABOUT).read_bytes()
        return msgspec.json.decode(text, type=_About)
    except FileNotFoundError:
        return None


def _earlier_job(
    directory: DataDirectory, content_hash: str, side_settings: Mapping[str, Any]
) -> str | None:
    return None if side_settings.get("again") else job_with_content(directory, content_hash)


def _folder(directory: DataDirectory, held: str) -> Path:
    return directory.receiving / f"{_PREFIX}{held}"


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
