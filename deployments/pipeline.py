"""The pipeline role: Prefect server (unless there is one), deployments, runner; one process.

Prefect is imported only after its environment is set: it reads that while it is imported.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.children import Child
from deployments.nudging import Nudges
from deployments.prefect_server import choose_server, client_environment, external_api_url
from deployments.supervision import RoleFailed, Supervisor
from storage.directory import DataDirectory
from storage.health import HealthFile
from storage.locks import exclusive_lock_if_free

if TYPE_CHECKING:
    from deployments.scheduling import Schedule

_log = logging.getLogger(__name__)

LEAVE_SECONDS = 9.5
"""After a signal the process is gone by then, whatever hangs."""
_SERVER_STOP_SECONDS = 2.5
_LAST_WORDS_SECONDS = 1.5
_LOOK_SECONDS = 1.0
_READY_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the pipeline carries out."""

    schedules: "tuple[Schedule, ...]"
    watch: Callable[[], Iterable[str]] | None = None
    """Looks for outside events each second; names the flows to nudge."""


LoadWork = Callable[[Settings, HealthFile], Work]
"""Makes the work; called when prefect may be imported."""


def run_pipeline(settings: Settings, load_work: LoadWork) -> NoReturn:
    """Run the pipeline until SIGINT or SIGTERM, then end the process.

    It does not return to its caller: the interpreter would wait for hung threads, and tearing
    it down under Prefect's own threads makes native libraries complain at length.
    """
    directory = DataDirectory(settings.data_dir.absolute())
    directory.create()
    with exclusive_lock_if_free(directory.locks / "runner.lock") as is_ours:
        if not is_ours:
            raise ConfigurationError(
                f"a pipeline runs already on {directory.root}: there is one for each data "
                "directory; stop the other one, or set OBM_DATA_DIR to another folder"
            )
        exit_code, all_ended = asyncio.run(_Pipeline(settings, directory).run(load_work))
    if not all_ended:
        _give_up("a flow did not stop in time")
    _leave(exit_code)


class _Pipeline:
    """One life of the pipeline process."""

    def __init__(self, settings: Settings, directory: DataDirectory) -> None:
        self._settings = settings
        self._directory = directory
        self._health = HealthFile(directory.health, "pipeline")
        self._supervisor = Supervisor()
        self._stop = asyncio.Event()
        self._failure: RoleFailed | None = None

    async def run(self, load_work: LoadWork) -> tuple[int, bool]:
        """Return the exit code, and whether every flow ended in time."""
        self._stop_on_signals()
        self._health.report("starting")
        try:
            server = self._start_server()
            # Imports for seconds, while the server gets ready.
            work = load_work(self._settings, self._health)
            await self._until_ready(server)
            keeping = asyncio.create_task(self._look_after_server())
            all_ended = await self._run_flows(work)
            keeping.cancel()
        finally:
            self._supervisor.stop(_SERVER_STOP_SECONDS)
            self._health.report("stopped")
        if self._failure is not None:
            _log.error("%s", self._failure)
            return self._failure.exit_code, all_ended
        return 0, all_ended

    def _start_server(self) -> Child | None:
        if external_api_url() is not None:
            return None
        server = choose_server(self._directory, self._settings.prefect_port)
        os.environ.update(client_environment(server))
        return self._supervisor.start(server.role())

    async def _until_ready(self, server: Child | None) -> None:
        while server is not None and not server.is_ready and not self._stop.is_set():
            self._look_after_once()
            await asyncio.sleep(_READY_SECONDS)

    async def _look_after_server(self) -> None:
        while not self._stop.is_set():
            self._look_after_once()
            await asyncio.sleep(_LOOK_SECONDS)

    def _look_after_once(self) -> None:
        try:
            self._supervisor.look_after()
        except RoleFailed as failure:
            self._failure = failure
            self._stop.set()

    async def _run_flows(self, work: Work) -> bool:
        from deployments.runner import Runner  # noqa: PLC0415 - imports prefect

        nudges = Nudges(schedule.name for schedule in work.schedules)
        runner = Runner(work.schedules, nudges=nudges, health=self._health, watch=work.watch)
        all_ended = await runner.run(self._stop)
        with suppress(Exception):
            await asyncio.wait_for(_send_last_words(), _LAST_WORDS_SECONDS)
        return all_ended

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._begin_stop)

    def _begin_stop(self) -> None:
        if not self._stop.is_set():
            last_resort = threading.Timer(LEAVE_SECONDS, _give_up, ["stopping took too long"])
            last_resort.daemon = True
            last_resort.start()
        self._stop.set()


async def _send_last_words() -> None:
    """Hand logs and events of the last runs to the server while it is there."""
    from prefect.events.worker import EventsWorker  # noqa: PLC0415 - imports prefect
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415 - imports prefect

    await APILogHandler.aflush()
    events: Any = EventsWorker.drain_all()  # sync or async, as its caller is
    await events


def _give_up(reason: str) -> NoReturn:
    """End the process although something hangs; our children end with us."""
    _log.error("%s: the process ends now; its work is taken up again at the next start", reason)
    _leave(1)


def _leave(exit_code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
