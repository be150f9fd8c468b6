"""The thread that works through the batches, beside the event loop."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from simulator.batch_store import BatchChangedError

if TYPE_CHECKING:
    from simulator.batch_store import BatchStore
    from simulator.steps import BatchSteps

logger = logging.getLogger(__name__)
PAUSE_AFTER_FAULT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 3_600.0


class BatchWorker:
    """Takes the batch that is due first and carries it one step further, again and again."""

    def __init__(self, batches: BatchStore, steps: BatchSteps) -> None:
        self._batches = batches
        self._steps = steps
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the step under way and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                seconds = self._work()
            except (OSError, sqlite3.Error):
                logger.exception("A batch cannot go on; it is tried again")
                seconds = PAUSE_AFTER_FAULT_SECONDS
            if seconds > 0:
                self._wake.wait(seconds)

    def _work(self) -> float:
        """Do one step if one is due; return how long nothing is."""
        found = self._batches.next_due()
        if found is None:
            return LONGEST_WAIT_SECONDS
        stored, due_at = found
        seconds = due_at - time.time()
        if seconds > 0:
            return min(seconds, LONGEST_WAIT_SECONDS)
        try:
            self._steps.take(stored)
        except BatchChangedError:
            logger.debug("Batch %s was cancelled during a step", stored.record.id)
        return 0.0
