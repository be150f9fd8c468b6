"""Dying together with the process that started us."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

POLL_SECONDS = 0.5


def die_with(parent_process: int) -> None:
    """End this process as soon as the given process is gone.

    Not PR_SET_PDEATHSIG: that fires when the starting *thread* ends, which kills a server
    that a worker thread has started for others.
    """
    threading.Thread(target=_watch, args=(parent_process,), daemon=True, name="parent").start()


def _watch(parent_process: int) -> None:
    if hasattr(os, "pidfd_open"):
        _wait_for_exit(parent_process)
    else:
        while os.getppid() == parent_process:
            time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_exit(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [])
