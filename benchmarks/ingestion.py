"""How fast a JSONL file becomes segments, beside the least that any such program must do.

Each measurement runs in a fresh process. Wall time is what a user waits; CPU time is what
remains true when other programs use the machine.
"""

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from batching.settings import Settings
from storage.directory import DataDirectory
from storage.intake_file import take_in
from storage.staging import claim

BLOCK_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured way through the same file."""

    name: str
    lines: int
    wall_seconds: float
    main_cpu_seconds: float
    all_cpu_seconds: float
    peak_megabytes: float
    """Memory beyond what the process had before it began."""

    @property
    def lines_a_second(self) -> float:
        """Lines in a second of wall time."""
        return self.lines / self.wall_seconds

    @property
    def lines_a_cpu_second(self) -> float:
        """Lines in a second of the busiest thread: the rate of a machine with nothing else."""
        rest = self.all_cpu_seconds - self.main_cpu_seconds
        return self.lines / max(self.main_cpu_seconds, rest)


def measure(line_count: int = 1_000_000) -> list[Figure]:
    """Return the figures of both floors and of ingestion, small and large."""
    with tempfile.TemporaryDirectory(prefix="obm-bench-") as folder:
        small, large = Path(folder) / "small.jsonl", Path(folder) / "large.jsonl"
        write_chat_lines(large, line_count)
        write_chat_lines(small, line_count // 20)
        return [
            _in_a_fresh_process(partial(_copy, large), "floor: read + write the bytes"),
            _in_a_fresh_process(partial(_decode, large), "floor: bare msgspec loop"),
            _in_a_fresh_process(partial(_ingest, small), "ingestion, 1/20 of the file"),
            _in_a_fresh_process(partial(_ingest, large), "ingestion"),
        ]


def write_chat_lines(path: Path, count: int) -> None:
    """Write chat requests of about 1 KB of random words, the same ones each time."""
    chance = random.Random(7)  # noqa: S311 - words, no secrets
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(5_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = " ".join(chance.choices(words, k=150))
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
            envelope = {"custom_id": f"request-{number:07d}", "method": "POST"}
            file.write(json.dumps({**envelope, "url": "/v1/chat/completions", "body": body}))
            file.write("\n")


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    figures = measure(parser.parse_args().lines)
    heads = ("lines", "lines/s", "lines/s (CPU)", "CPU s", "peak MB")
    print(f"{'':32}{''.join(f'{head:>15}' for head in heads)}")
    for figure in figures:
        values = (
            f"{figure.lines:,}",
            f"{figure.lines_a_second:,.0f}",
            f"{figure.lines_a_cpu_second:,.0f}",
            f"{figure.all_cpu_seconds:.2f}",
            f"{figure.peak_megabytes:+.0f}",
        )
        print(f"{figure.name:32}{''.join(f'{value:>15}' for value in values)}")


def _in_a_fresh_process(work: Callable[[], int], name: str) -> Figure:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(_measured, work, name).result()


def _measured(work: Callable[[], int], name: str) -> Figure:
    before = _peak_megabytes()
    wall, cpu, main_cpu = time.perf_counter(), time.process_time(), time.thread_time()
    lines = work()
    return Figure(
        name=name,
        lines=lines,
        wall_seconds=time.perf_counter() - wall,
        main_cpu_seconds=time.thread_time() - main_cpu,
        all_cpu_seconds=time.process_time() - cpu,
        peak_megabytes=_peak_megabytes() - before,
    )


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1_000


def _copy(path: Path) -> int:
    lines = 0
    with path.open("rb", buffering=0) as source, path.with_suffix(".copy").open("wb") as target:
        while block := source.read(BLOCK_BYTES):
            lines += block.count(b"\n")
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    return lines


class _Envelope(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str


def _decode(path: Path) -> int:
    envelope, body = msgspec.json.Decoder(_Envelope), msgspec.json.Decoder(_Body)
    lines = 0
    with path.open("rb") as source:
        for line in source:
            body.decode(envelope.decode(line).body)
            lines += 1
    return lines


def _ingest(path: Path) -> int:
    directory = DataDirectory(path.with_suffix(".data"))
    directory.create()
    dropped = directory.inbox / path.name
    path.rename(dropped)
    claimed = claim(directory, dropped)
    if claimed is None:
        raise FileNotFoundError(dropped)
    taken = take_in(
        directory,
        claimed,
        job="bench",
        first_segment=1,
        settings=Settings(),
        accepted_at=datetime.now(UTC),
    )
    return taken.accepted


if __name__ == "__main__":
    main()
