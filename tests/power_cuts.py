"""Disks after a power cut: what was synced is there, of the rest some, none, or a part.

Rules: data is safe after an fsync of its file that began after the write had ended; a name is safe
after an fsync of its folder. A rename is one step. What is not safe is dropped or kept by
chance, data also in part, page by page, with zeros in between; of names only the order of what
happened to the same name or the same file is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from disk_recording import Event, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

PAGE_BYTES = 4_096
NAMING = {Kind.CREATE, Kind.RENAME, Kind.UNLINK, Kind.MKDIR, Kind.RMDIR, Kind.LINK}


class Temper(Enum):
    """What a disk does with what was never synced."""

    FORGETS = auto()
    """None of it is there."""
    JOURNALS = auto()
    """Names are there up to some moment; of the data anything may be missing."""
    SCATTERS = auto()
    """Anything may be missing, in any order."""
    KEEPS = auto()
    """All of it is there, as after a kill."""


@dataclass(slots=True, eq=False)
class File:
    """A file's safe bytes, and what was done to it since."""

    name: str
    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[Event] = field(default_factory=list)

    def sync(self, begun: int) -> None:
        """Make safe what had ended before."""
        for event in self.unsafe:
            if event.ended < begun:
                _apply(self.safe, event)
        self.unsafe = [event for event in self.unsafe if event.ended >= begun]


Entry = File | None
"""None: a folder."""


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of names, and the file (or folder) that it is about."""

    event: Event
    entry: Entry

    @property
    def names(self) -> set[str]:
        return {self.event.path, self.event.target} - {""}

    @property
    def folders(self) -> set[str]:
        return {os.path.dirname(name) for name in self.names}  # noqa: PTH120 - plain text is quick


class Disk:
    """What would be left at each moment; events are told in their order."""

    def __init__(self) -> None:
        self._safe: dict[str, Entry] = {}
        self._unsafe: list[Naming] = []
        self._now: dict[str, Entry] = {}
        self._inodes: dict[int, File] = {}

    def tell(self, event: Event) -> str:
        """Let it happen; return the name that the file has or had."""
        if event.kind in NAMING:
            naming = self._naming(event)
            self._unsafe.append(naming)
            _rename(self._now, naming)
            if naming.entry is not None:
                naming.entry.name = event.target or event.path
            return event.path
        if event.kind is Kind.SYNC_FOLDER:
            self._sync_folder(event)
            return event.path
        file = self._inodes.get(event.inode)
        if file is None:  # made without a name, or before the recording
            return ""
        if event.kind is Kind.SYNC:
            file.sync(event.begun)
        else:
            file.unsafe.append(event)
        return file.name

    def _naming(self, event: Event) -> Naming:
        if event.kind is Kind.CREATE:
            self._inodes[event.inode] = File(event.path)
            return Naming(event, self._inodes[event.inode])
        return Naming(event, self._now.get(event.path))

    def _sync_folder(self, sync: Event) -> None:
        ended = [naming for naming in self._unsafe if naming.event.ended < sync.begun]
        wanted = [naming for naming in ended if sync.path in naming.folders]
        chosen = _with_what_they_need(wanted, ended)
        for naming in ended:
            if id(naming) in chosen:
                _rename(self._safe, naming)
        self._unsafe = [naming for naming in self._unsafe if id(naming) not in chosen]

    def write_to(
        self, root: Path, target: Path, temper: Temper, chance: random.Random,
        under_way: Iterable[Event] = (),
    ) -> None:  # fmt: skip
        """Make a copy of one of the recorded folders as it would be found after a power cut.

        `under_way` are the calls that had begun and not ended.
        """
        tree = self._names(temper, chance)
        parts: dict[int, list[Event]] = {}
        for event in under_way:
            if event.kind in {Kind.WRITE, Kind.TRUNCATE}:
                parts.setdefault(event.inode, []).append(event)
        target.mkdir(parents=True)
        for path, entry in sorted(tree.items()):
            place = target / os.path.relpath(path, root)
            if not Path(path).is_relative_to(root) or not place.parent.is_dir():
                continue
            if entry is None:
                place.mkdir(exist_ok=True)
            else:
                begun = [e for e in entry.unsafe if self._inodes.get(e.inode) is entry]
                more = [e for e in begun[:1] for e in parts.get(e.inode, ())]
                place.write_bytes(_content(entry, [*entry.unsafe, *more], temper, chance))

    def _names(self, temper: Temper, chance: random.Random) -> dict[str, Entry]:
        if temper is Temper.FORGETS:
            wanted = []
        elif temper is Temper.JOURNALS:
            wanted = self._unsafe[: chance.randint(0, len(self._unsafe))]
        elif temper is Temper.SCATTERS:
            wanted = [naming for naming in self._unsafe if chance.random() < 0.3]
        else:
            wanted = self._unsafe
        chosen = _with_what_they_need(wanted, self._unsafe)
        tree = dict(self._safe)
        for naming in self._unsafe:
            if id(naming) in chosen:
                _rename(tree, naming)
        return tree


def _with_what_they_need(wanted: Sequence[Naming], all_before: Sequence[Naming]) -> set[int]:
    """Return the wanted changes and those that must have come before them."""
    chosen = {id(naming) for naming in wanted}
    names: set[str] = set()
    files: set[int] = set()
    for naming in reversed(all_before):
        is_needed = not names.isdisjoint(naming.names) or id(naming.entry) in files
        if is_needed or id(naming) in chosen:
            chosen.add(id(naming))
            names |= naming.names
            files |= {id(naming.entry)} if naming.entry is not None else set()
    return chosen


def _rename(tree: dict[str, Entry], naming: Naming) -> None:
    event = naming.event
    if event.kind in {Kind.CREATE, Kind.MKDIR}:
        tree[event.path] = naming.entry
    elif event.kind is Kind.LINK:
        tree[event.target] = naming.entry
    elif event.kind is Kind.RENAME:
        if event.path in tree:
            tree[event.target] = tree.pop(event.path)
    else:
        tree.pop(event.path, None)


def _apply(content: bytearray, event: Event) -> None:
    if event.kind is Kind.TRUNCATE:
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
        return
    content.extend(bytes(max(0, event.offset - len(content))))
    content[event.offset : event.offset + len(event.data)] = event.data


def _content(
    file: File, unsafe: Sequence[Event], temper: Temper, chance: random.Random
) -> bytearray:
    content = bytearray(file.safe)
    fate = {Temper.FORGETS: "lost", Temper.KEEPS: "kept"}.get(temper) or chance.choice(
        ("lost", "kept", "cut off", "zeros", "pages", "pages")
    )
    if fate == "cut off":
        unsafe = unsafe[: chance.randint(0, len(unsafe))]
    for number, event in enumerate(unsafe if fate != "lost" else ()):
        if fate == "pages":
            for part in _pages(event):
                if chance.random() < 0.5:
                    _apply(content, part)
        elif fate == "zeros" and event.kind is Kind.WRITE:
            _apply(content, _part(event, 0, len(event.data), zeros=chance.random() < 0.7))
        elif fate == "cut off" and number == len(unsafe) - 1:
            _apply(content, _part(event, 0, chance.randint(0, len(event.data))))
        else:
            _apply(content, event)
    return content


def _pages(event: Event) -> list[Event]:
    if event.kind is Kind.TRUNCATE:
        return [event]
    ends = range(PAGE_BYTES - event.offset % PAGE_BYTES, len(event.data), PAGE_BYTES)
    return [_part(event, start, end) for start, end in pairwise([0, *ends, len(event.data)])]


def _part(event: Event, start: int, end: int, *, zeros: bool = False) -> Event:
    if event.kind is Kind.TRUNCATE:
        return event
    return Event(
        kind=event.kind, begun=event.begun, ended=event.ended, nanoseconds=event.nanoseconds,
        inode=event.inode, offset=event.offset + start,
        data=bytes(end - start) if zeros else event.data[start:end], path="", target="",
    )  # fmt: skip
