"""In which order and in which portions the lines of a batch are worked through."""

from __future__ import annotations

import os
import random
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.inspection import Inspection

BLOCK_LINES = 1_000
BLOCK_BYTES = 4 << 20
PROGRESS_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class LinePlan:
    """Where each line lies, and which line starts a block; blocks run in a shuffled order."""

    offsets: array[int]
    ends: array[int]
    starts: array[int]

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.starts)

    def block(self, batch_id: str, position: int) -> list[int]:
        """Return the lines of the block that runs at this position, in their order."""
        order = list(range(self.blocks))
        random.Random(batch_id).shuffle(order)
        index = order[position]
        last = index + 1 == self.blocks
        stop = len(self.offsets) if last else self.starts[index + 1]
        lines = list(range(self.starts[index], stop))
        random.Random(f"{batch_id}:{index}").shuffle(lines)
        if position == 0 and self.blocks == 1 and len(lines) > 1 and lines == sorted(lines):
            lines.reverse()
        return lines

    def read(self, path: Path, ordinals: Sequence[int]) -> list[bytes]:
        """Return the raw lines with these numbers, which lie close together."""
        if not ordinals:
            return []
        start, end = self.offsets[min(ordinals)], self.ends[max(ordinals)]
        with path.open("rb") as file:
            piece = os.pread(file.fileno(), end - start, start)
        offsets, ends = self.offsets, self.ends
        return [piece[offsets[each] - start : ends[each] - start] for each in ordinals]


def save_plan(path: Path, inspection: Inspection, *, in_steps: bool) -> None:
    """Write down how a checked file will be worked through, so that a restart can go on."""
    total = len(inspection.offsets)
    block_lines = min(BLOCK_LINES, -(-total // PROGRESS_STEPS)) if in_steps else BLOCK_LINES
    starts, lines, size = array("Q"), 0, 0
    for ordinal, length in enumerate(inspection.lengths):
        if not lines or lines >= block_lines or size + length > BLOCK_BYTES:
            starts.append(ordinal)
            lines, size = 0, 0
        lines, size = lines + 1, size + length
    ends = array("Q", map(int.__add__, inspection.offsets, inspection.lengths))
    header = array("Q", [total, len(starts)])
    path.write_bytes(
        b"".join(each.tobytes() for each in (header, starts, inspection.offsets, ends))
    )


@lru_cache(maxsize=4)
def load_plan(path: Path) -> LinePlan:
    """Return the plan that was written down for a batch."""
    numbers = array("Q")
    numbers.frombytes(path.read_bytes())
    total, blocks = numbers[0], numbers[1]
    starts_end = 2 + blocks
    return LinePlan(
        starts=numbers[2:starts_end],
        offsets=numbers[starts_end : starts_end + total],
        ends=numbers[starts_end + total :],
    )
