"""The inbox from the side of who brings files: putting one in, seeing what still lies there."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batching.errors import BadInput
from batching.jobs import SIDE_FILE_SUFFIX, side_file_name
from storage.directory import DataDirectory
from storage.durable import disk_errors, publish, sync_file, write_durably
from storage.formats import format_of
from storage.locks import exclusive_lock
from storage.log_files import is_log

_UNFINISHED = (".part", ".tmp")


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingFile:
    """A file that was brought and has not been taken in completely."""

    name: str
    bytes: int
    since: datetime
    remark: str


def put_into_inbox(
    directory: DataDirectory, path: Path, *, side_settings: Mapping[str, Any]
) -> Path:
    """Copy a request file, with its side file, so that it is seen complete or not at all.

    A name that is taken in the inbox gets `-2`, `-3`, …; returns where the file lies now.
    """
    unfinished = directory.inbox / f".{path.name}.{os.getpid()}.tmp"
    try:
        with disk_errors(unfinished):
            shutil.copyfile(path, unfinished)
            sync_file(unfinished)
        return hand_over(directory, unfinished, path.name, side_settings=side_settings)
    finally:
        unfinished.unlink(missing_ok=True)


def hand_over(
    directory: DataDirectory, unfinished: Path, name: str, *, side_settings: Mapping[str, Any]
) -> Path:
    """Give a synced file, with its side file, a free name in the inbox; return where it lies."""
    with exclusive_lock(directory.locks / "inbox.lock"):
        return _publish(unfinished, directory.inbox, name, side_settings)


def _publish(unfinished: Path, inbox: Path, name: str, side_settings: Mapping[str, Any]) -> Path:
    side_text = json.dumps(side_settings, ensure_ascii=False).encode() if side_settings else b""
    place = next(_free_places(inbox, name, side_text))
    if side_text:
        write_durably(place.with_name(side_file_name(place.name)), side_text)
    publish(unfinished, place)
    return place


def _free_places(inbox: Path, name: str, side_text: bytes) -> Iterator[Path]:
    stem = side_file_name(name).removesuffix(SIDE_FILE_SUFFIX)
    endings = name[len(stem) :]
    number = 1
    while True:
        place = inbox / (name if number == 1 else f"{stem}-{number}{endings}")
        side_file = place.with_name(side_file_name(place.name))
        if not place.exists() and _is_free(side_file, side_text):
            yield place
        number += 1


def _is_free(side_file: Path, side_text: bytes) -> bool:
    """Return whether there is none, or the very one that a killed hand-over has left.

    It would wait there for ever otherwise, for a file of that name that it was not meant for.
    """
    try:
        found = side_file.read_bytes()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return bool(side_text) and found == side_text


def waiting_files(directory: DataDirectory) -> list[WaitingFile]:
    """Return the files in the inbox and those being taken in, oldest first."""
    being_taken_in = [
        _waiting(path, name=path.name.partition("__")[2] or path.name, remark="being taken in")
        for path in _visible_files(directory.claimed)
    ]
    brought = [
        _waiting(path, name=path.name, remark=_remark(path))
        for path in _visible_files(directory.inbox)
    ]
    found = [file for file in (*being_taken_in, *brought) if file is not None]
    return sorted(found, key=lambda file: file.since)


def _visible_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and not path.name.endswith(SIDE_FILE_SUFFIX)
        and not is_log(path.name)
    ]


def _waiting(path: Path, *, name: str, remark: str) -> WaitingFile | None:
    try:
        found = path.stat()
    except FileNotFoundError:  # taken in meanwhile
        return None
    since = datetime.fromtimestamp(found.st_mtime, UTC)
    return WaitingFile(name=name, bytes=found.st_size, since=since, remark=remark)


def _remark(path: Path) -> str:
    if path.is_dir():
        return "is a folder, which is left alone"
    if path.name.lower().endswith(_UNFINISHED):
        return "waits until it loses this ending"
    try:
        format_of(path.name)
    except BadInput:
        return "has no known format"
    return "waits to be taken in"
