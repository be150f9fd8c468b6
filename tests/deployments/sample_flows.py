"""Small flows that the tests schedule; importable, as Prefect's module entrypoints want it."""

import asyncio
import os
import threading
from pathlib import Path

from prefect import flow

from batching.stopping import check_stop, stop_requested

calls: list[str] = []
"""Which flows were entered, in this process."""
release = threading.Event()
"""Lets `held` end."""


@flow
async def quick() -> None:
    calls.append("quick")
    _leave_trace("quick")


@flow
async def other() -> None:
    calls.append("other")


@flow
async def failing() -> None:
    calls.append("failing")
    raise RuntimeError("broken on purpose")


@flow
async def held() -> None:
    """Run until it is released or asked to stop."""
    calls.append("held")
    _leave_trace("held")
    while not release.is_set():
        check_stop()
        await asyncio.sleep(0.05)


@flow
async def deaf() -> None:
    """Take no notice of a wish to stop."""
    _leave_trace("deaf")
    await asyncio.to_thread(release.wait)


@flow
async def polite() -> None:
    """End well when asked to stop."""
    _leave_trace("polite")
    while not stop_requested():  # noqa: ASYNC110 - the wish to stop is no asyncio event
        await asyncio.sleep(0.05)


def _leave_trace(name: str) -> None:
    folder = os.environ.get("TRACE_FOLDER")
    if folder:
        with Path(folder, name).open("a") as file:
            file.write(f"{os.getpid()}\n")
