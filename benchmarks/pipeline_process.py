"""The process that an end-to-end run measures: runs the pipeline, then tells what it took."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from benchmarks.processes import spent_so_far
from deployments.memory import keep_memory_flat

_POLL_SECONDS = 0.5
Result = TypeVar("Result")


def main() -> None:
    """Run what is in a data directory at a provider and write down what it took.

    The arguments are the directory, the provider's URL, and the file for the figures.
    """
    keep_memory_flat()
    from batching.settings import Settings  # noqa: PLC0415 - after the allocators are told
    from deployments import until_idle  # noqa: PLC0415 - see above

    running: list[float] = []
    waiting: list[float] = []

    class TimedCycles(until_idle.Cycles):
        """Notes how long it runs, without server start and stop, and how long it just waits."""

        def __init__(self, settings: Settings, stop: threading.Event, **others: Any) -> None:
            wait = stop.wait
            stop.wait = timed(wait, waiting)  # type: ignore[method-assign] # of this one event
            super().__init__(settings, stop, **others)

        def run(self, flows: Any) -> int:
            return timed(super().run, running)(flows)

    settings = Settings(
        openai_api_key="bench", openai_base_url=sys.argv[2], data_dir=Path(sys.argv[1])
    )
    with mock.patch.object(until_idle, "Cycles", TimedCycles):
        code = until_idle.run_until_idle(
            settings, timeout_seconds=None, poll_interval_seconds=_POLL_SECONDS
        )
    spent = spent_so_far(os.getpid())
    told = {
        "exit_code": code,
        "cpu_seconds": spent.cpu_seconds,
        "peak_megabytes": spent.peak_megabytes,
        "running_seconds": sum(running),
        "waiting_seconds": sum(waiting),
    }
    Path(sys.argv[3]).write_text(json.dumps(told), encoding="utf-8")


def timed(work: Callable[..., Result], durations: list[float]) -> Callable[..., Result]:
    """Return the same work, which notes how long it took."""

    def note_time(*values: Any) -> Result:
        began = time.monotonic()
        try:
            return work(*values)
        finally:
            durations.append(time.monotonic() - began)

    return note_time


if __name__ == "__main__":
    main()
