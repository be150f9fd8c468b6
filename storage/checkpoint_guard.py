"""What a checkpoint overwrites in place, kept until the checkpoint is over.

The database writes what has changed to free blocks and switches a header last. Blocks of
metadata are the exception: they are written again where they are, under a new checksum. If the
power goes in the middle of that, the header that still counts leads to a torn block, and the
ledger cannot be opened. So these blocks and the headers are saved, synced, before each
checkpoint, and put back by whoever opens the ledger after a power cut.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import numpy as np
import xxhash

from batching.errors import DiskFull
from storage.backups import log_of
from storage.durable import disk_errors, sync_folder

_MAGIC: Final = b"OBM-GUARD-000001"
_NOTHING: Final = bytes(len(_MAGIC))
_HEAD: Final = struct.Struct("<16s16sQ")
_PIECE: Final = struct.Struct("<QQ")
_PAGE_BYTES: Final = 4_096
_HEADERS_BYTES: Final = 3 * _PAGE_BYTES
"""The file's own header, then two of the database, of which the younger one counts."""
_CHECKSUM_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_CHECKSUM_START: Final = np.uint64(5381)

_BLOCKS: Final = (
    "SELECT block_id, block_size FROM pragma_metadata_info(), pragma_database_size() "
    "WHERE block_id >= 0 ORDER BY block_id"
)

Pieces = dict[int, bytes]
"""Bytes of the ledger by their offset."""


def guard_path(ledger: Path) -> Path:
    """Return where the blocks of a ledger are saved."""
    return ledger.with_suffix(".guard")


class CheckpointGuard:
    """Stands by while a ledger is open, from before its opening to after its closing.

    Whoever uses it has the ledger for himself.
    """

    def __init__(self, ledger: Path, *, is_needed: bool) -> None:
        self._ledger = ledger
        self._is_needed = is_needed
        self._descriptor: int | None = None
        self._has_log = False

    def __enter__(self) -> Self:
        if not self._is_needed:  # a ledger in the making is made anew after a power cut
            return self
        put_back_blocks(self._ledger)
        with suppress(FileNotFoundError):
            # Open until the end: a handle that is closed takes the database's own lock along.
            self._descriptor = os.open(self._ledger, os.O_RDONLY | os.O_CLOEXEC)
        return self

    def before_closing(self, connection: Any) -> None:
        """Save what closing will overwrite; if that is impossible, the log is left for later."""
        self._has_log = self._is_needed and log_of(self._ledger).exists()
        if not self._has_log or self._descriptor is None:
            return
        try:
            _save(guard_path(self._ledger), _pieces(connection, self._descriptor))
        except (OSError, DiskFull, duckdb.Error):
            with suppress(duckdb.Error):
                connection.execute("PRAGMA disable_checkpoint_on_shutdown")

    def __exit__(self, error: object, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        if self._has_log and error is None:
            # A log that came back would belong to an older ledger than this one.
            sync_folder(self._ledger.parent)
            forget_blocks(self._ledger)


def forget_blocks(ledger: Path) -> None:
    """Say that the checkpoint is over; if a power cut undoes that, the headers say so too."""
    with suppress(FileNotFoundError), guard_path(ledger).open("r+b", buffering=0) as file:
        file.write(_NOTHING)


def is_guarded(ledger: Path) -> bool:
    """Return whether a checkpoint was begun of which nobody has seen the end."""
    try:
        with guard_path(ledger).open("rb", buffering=0) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        return False


def put_back_blocks(ledger: Path) -> bool:
    """Undo what a checkpoint did that never came to its end; return whether there was one.

    The caller has the ledger for himself. Nothing is done to another file, nor after the end.
    """
    if not is_guarded(ledger) or not ledger.exists():
        return False
    pieces = _unpacked(guard_path(ledger).read_bytes())
    was_cut = bool(pieces) and _is_before_the_switch(ledger, pieces[0])
    if was_cut:
        descriptor = os.open(ledger, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for offset, data in pieces.items():
                _write(descriptor, offset, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    forget_blocks(ledger)
    return was_cut


def _is_before_the_switch(ledger: Path, saved: bytes) -> bool:
    """Return whether the saved headers still count: they are there, or a new one is torn."""
    with ledger.open("rb", buffering=0) as file:
        found = file.read(_HEADERS_BYTES)
    changed = [
        found[start : start + _PAGE_BYTES]
        for start in range(0, _HEADERS_BYTES, _PAGE_BYTES)
        if found[start : start + _PAGE_BYTES] != saved[start : start + _PAGE_BYTES]
    ]
    is_own = found[:_PAGE_BYTES] == saved[:_PAGE_BYTES]
    return not changed or (is_own and len(changed) == 1 and not _is_whole(changed[0]))


def _is_whole(page: bytes) -> bool:
    """Return whether a header has the checksum that the database gives it."""
    if len(page) < _PAGE_BYTES:
        return False
    numbers = np.frombuffer(page, np.uint64)
    return bool(
        np.bitwise_xor.reduce(numbers[1:] * _CHECKSUM_FACTOR, initial=_CHECKSUM_START) == numbers[0]
    )


def _pieces(connection: Any, descriptor: int) -> Pieces:
    """Read the headers, and the blocks of metadata that the ledger has now."""
    blocks = connection.execute(_BLOCKS).fetchall()
    places = [(_HEADERS_BYTES + int(number) * int(size), int(size)) for number, size in blocks]
    return {
        offset: os.pread(descriptor, size, offset)
        for offset, size in [(0, _HEADERS_BYTES), *places]
    }


def _save(path: Path, pieces: Pieces) -> None:
    is_new = not path.exists()
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _write(descriptor, 0, _packed(pieces))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    if is_new:
        sync_folder(path.parent)


def _packed(pieces: Pieces) -> bytes:
    payload = b"".join(
        _PIECE.pack(offset, len(data)) + data for offset, data in sorted(pieces.items())
    )
    return _HEAD.pack(_MAGIC, xxhash.xxh3_128_digest(payload), len(payload)) + payload


def _unpacked(content: bytes) -> Pieces:
    """Return what was saved; nothing if the saving itself was cut."""
    if len(content) < _HEAD.size:
        return {}
    _, digest, length = _HEAD.unpack_from(content)
    payload = content[_HEAD.size : _HEAD.size + length]
    if len(payload) < length or xxhash.xxh3_128_digest(payload) != digest:
        return {}
    pieces, at = {}, 0
    while at < length:
        offset, size = _PIECE.unpack_from(payload, at)
        at += _PIECE.size
        pieces[offset] = payload[at : at + size]
        at += size
    return pieces


def _write(descriptor: int, offset: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
