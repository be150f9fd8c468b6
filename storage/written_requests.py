"""Requests that are written here, not brought as a file: they go the way of a file all the same."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from storage.directory import DataDirectory
from storage.formats import SourceFormat
from storage.held_files import HeldFile, hold
from storage.uploaded_files import UploadedFile


def put_requests(
    directory: DataDirectory, lines: Iterable[bytes], *, name: str, side_settings: Mapping[str, Any]
) -> Path:
    """Put request lines into the inbox as a file of this name; return where it lies."""
    with UploadedFile(directory, SourceFormat.JSONL) as file:
        _write(file, lines)
        return file.hand_over(name, side_settings=side_settings)


def hold_requests(
    directory: DataDirectory, lines: Iterable[bytes], *, name: str, side_settings: Mapping[str, Any]
) -> HeldFile:
    """Let request lines wait as a file of this name, until somebody starts it."""
    with UploadedFile(directory, SourceFormat.JSONL) as file:
        _write(file, lines)
        return hold(directory, file, name, side_settings=side_settings)


def _write(file: UploadedFile, lines: Iterable[bytes]) -> None:
    for line in lines:
        file.write(line + b"\n")
