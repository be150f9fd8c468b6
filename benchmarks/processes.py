"""CPU time and memory of processes, as the kernel counts them."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.5
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a process or a piece of work took."""

    cpu_seconds: float
    peak_megabytes: float
    """VmHWM: the peak of this process alone (ru_maxrss would begin with its parent's)."""
    wall_seconds: float = 0.0


def spent_by(work: Callable[[], object]) -> Spent:
    """Do the work and return what it took; the peak is that of the whole process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
        peak_megabytes=peak_megabytes(os.getpid()),
    )


def in_a_fresh_process(work: Callable[[], _Result]) -> _Result:
    """Return what the work returns in a new process, whose memory nobody has used before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(work).result()


def peak_megabytes(pid: int) -> float:
    """Return the most memory that the process has held at a time."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1_024


def spent_so_far(pid: int) -> Spent:
    """Return what a running process took until now."""
    fields = _statistics(pid)
    return Spent(
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND,
        peak_megabytes=peak_megabytes(pid),
    )


def descendants(pid: int) -> list[int]:
    """Return the process and everything that it has started, children of children included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_statistics(int(entry.name))[1])
            except (OSError, IndexError):  # it has just ended
                continue
            children.setdefault(parent, []).append(int(entry.name))
    return list(_with_children(pid, children))


def is_prefect_server(pid: int) -> bool:
    """Return whether this is the embedded Prefect server."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"prefect" in command and b"server" in command


class Watch:
    """Notes what some processes take for as long as they live, twice a second."""

    def __init__(self, root: int, *, chosen: Callable[[int], bool]) -> None:
        self._root = root
        self._chosen = chosen
        self._seen: dict[int, Spent] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def total(self) -> Spent:
        """What they took together."""
        return Spent(
            cpu_seconds=sum(spent.cpu_seconds for spent in self._seen.values()),
            peak_megabytes=sum(spent.peak_megabytes for spent in self._seen.values()),
        )

    def look(self) -> None:
        """Note the state of this moment."""
        for pid in descendants(self._root):
            if pid in self._seen or self._chosen(pid):
                try:
                    self._seen[pid] = spent_so_far(pid)
                except (OSError, IndexError):  # it has just ended
                    continue

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            self.look()


def _statistics(pid: int) -> list[str]:
    """Return the fields of `stat` behind the name, which may hold anything."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _with_children(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _with_children(child, children)
