"""What processes do to their files, call by call, with all bytes: power cuts are made of it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).with_name("disk_recorder.c")
HEADER = struct.Struct("=2I6Q2I")


class Kind(IntEnum):
    """What a call did, as disk_recorder.c numbers it."""

    CREATE = 1
    TRUNCATE = 2
    WRITE = 3
    SYNC = 4
    SYNC_FOLDER = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A call that succeeded: it took effect at some moment between its begin and its end."""

    kind: Kind
    begun: int
    ended: int
    """Numbers of one sequence over all processes."""
    nanoseconds: int
    """When it had ended, by the clock."""
    inode: int
    offset: int
    """Of a truncation: the new length."""
    data: bytes
    path: str
    target: str


class Recording:
    """A log of everything that processes with this environment do below some folders."""

    def __init__(self, folder: Path, recorded: Sequence[Path]) -> None:
        folder.mkdir()
        self._log = folder / "log"
        self._log.touch()
        (folder / "counter").write_bytes(bytes(8))
        self.environment = {
            "LD_PRELOAD": str(_library(folder)),
            "DISK_RECORDING": str(folder),
            "DISK_RECORDED": ":".join(str(each) for each in recorded),
        }

    @contextmanager
    def of_children(self) -> Iterator[None]:
        """Record every process that is started in the block."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def events(self) -> list[Event]:
        """Return what was recorded, in the order in which calls ended."""
        return sorted(_events(self._log.read_bytes()), key=lambda event: event.ended)


def _library(folder: Path) -> Path:
    """Compile the recorder; skip the test where that is not possible."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here (gcc), which the recorder of writes needs")
    library = folder / "disk_recorder.so"
    compiled = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if compiled.returncode:
        pytest.skip(f"the recorder of writes cannot be compiled here: {compiled.stderr[:200]}")
    return library


def _events(log: bytes) -> Iterator[Event]:
    at = 0
    while at < len(log):
        kind, _, begun, ended, moment, inode, offset, length, path, target = HEADER.unpack_from(
            log, at
        )
        at += HEADER.size
        texts = log[at : at + path + target]
        at += path + target
        yield Event(
            kind=Kind(kind), begun=begun, ended=ended, nanoseconds=moment, inode=inode,
            offset=offset, data=log[at : at + length],
            path=os.fsdecode(texts[:path]), target=os.fsdecode(texts[path:]),
        )  # fmt: skip
        at += length
