"""`obm run --until-idle`: whole cycles without schedules, until nothing is left to do."""

import asyncio
import contextvars
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from types import FrameType

from batching.errors import BatchManagerError, ConfigurationError, StopRequested
from batching.settings import Settings
from batching.stopping import stop_signal
from deployments.prefect_server import choose_server, client_environment, external_api_url
from deployments.supervision import Supervisor
from storage.accounts import make_probes_due, refuses_everything
from storage.batches import make_looks_due
from storage.directory import DataDirectory
from storage.ledger import now
from storage.reports.progress import failures_since
from storage.reports.standstill import standstill
from storage.snapshots import ledger_generation, snapshot
from storage.staging import holds_unclaimed_files

logger = logging.getLogger(__name__)

ALL_WELL, SOME_FAILED, TIMED_OUT, STOPPED = 0, 3, 4, 130
SERVER_STOP_SECONDS = 5.0
LEAVE_SECONDS = 9.0
READY_SECONDS = 0.1
LAST_LOGS_SECONDS = 2.0
MOST_FAILED_CYCLES = 5


def run_until_idle(
    settings: Settings, *, timeout_seconds: float | None, poll_interval_seconds: float
) -> int:
    """Run cycles until every accepted request is answered and delivered.

    Batches close at once. Returns 0 if all succeeded, 3 if some failed or were rejected, 4 if
    time ran out or what is left waits for an operator.
    """
    hurried = settings.model_copy(
        update={
            "poll_min_seconds": poll_interval_seconds,
            "poll_max_seconds": poll_interval_seconds,
        }
    )
    stop = threading.Event()
    cycles = Cycles(hurried, stop, timeout_seconds=timeout_seconds)
    with _stopping_on_signals(stop), _prefect_server(hurried, stop):
        return _in_a_thread(lambda: cycles.run(_flows()))


class Cycles:
    """One run to the end: cycle after cycle, each flow only if it has work."""

    def __init__(
        self, settings: Settings, stop: threading.Event, *, timeout_seconds: float | None
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._began = now()
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._failed_cycles = 0
        self._refused_cycles = 0

    def run(self, flows: Mapping[str, Callable[[], object]]) -> int:
        """Cycle until nothing is left to do; return the exit code.

        `flows` are tried in their order; an error of one is tried again a few times.
        """
        from tasks.lookout import flows_with_work  # noqa: PLC0415 - imports prefect
        from tasks.resources import Resources, using  # noqa: PLC0415 - imports prefect

        resources = Resources(self._settings, close_at_once=True)
        with using(resources), stop_signal(self._stop), closing(resources):
            make_probes_due(resources.ledger)
            make_looks_due(resources.ledger)
            while not self._stop.is_set():
                busy = flows_with_work(resources, max_age_seconds=0.0)
                if busy:
                    generation = ledger_generation(resources.directory)
                    self._run_flows(flows, busy)
                    self._count_refusals(resources.directory)
                    if generation == ledger_generation(resources.directory):
                        # Nothing came of it: another process has the flow, or nobody answers.
                        self._stop.wait(self._settings.poll_min_seconds)
                elif (code := self._exit_code(resources.directory)) is not None:
                    return code
                else:
                    self._stop.wait(self._settings.poll_min_seconds)
                if self._is_late():
                    logger.warning("time is over: what is under way goes on at the next run")
                    return TIMED_OUT
        return STOPPED

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _run_flows(self, flows: Mapping[str, Callable[[], object]], busy: frozenset[str]) -> None:
        try:
            for name, run in flows.items():
                if name in busy:
                    run()
        except StopRequested:
            return
        except Exception as error:
            self._failed_cycles += 1
            if self._failed_cycles >= MOST_FAILED_CYCLES or isinstance(error, BatchManagerError):
                raise
            logger.warning("cycle failed, trying again", extra={"problem": str(error)})
            self._stop.wait(self._settings.poll_min_seconds)
        else:
            self._failed_cycles = 0

    def _count_refusals(self, directory: DataDirectory) -> None:
        """End the run if the provider goes on refusing: looks at batches are always due."""
        with snapshot(directory, max_age_seconds=0.0) as reader:
            trouble = refuses_everything(reader, self._settings.account)
        self._refused_cycles = self._refused_cycles + 1 if trouble else 0
        if trouble and self._refused_cycles >= MOST_FAILED_CYCLES:
            raise _refused(trouble)

    def _exit_code(self, directory: DataDirectory) -> int | None:
        """Return how the run ends, or None while batches or files are under way."""
        with snapshot(directory, max_age_seconds=0.0) as reader:
            still = standstill(reader, self._settings.account)
            failures = failures_since(reader, self._began)
        if still.account_trouble:
            raise _refused(still.account_trouble)
        if still.under_way or still.waiting_for_time or holds_unclaimed_files(directory):
            return None
        if still.held:
            logger.warning("requests still wait", extra={"reason": still.held})
            return TIMED_OUT
        return SOME_FAILED if failures else ALL_WELL


def _refused(trouble: str) -> ConfigurationError:
    return ConfigurationError(
        f"the provider refuses the account: {trouble.rstrip('.')}. Nothing was lost: correct "
        "OPENAI_API_KEY or OPENAI_BASE_URL and run again"
    )


def _flows() -> dict[str, Callable[[], object]]:
    """Return the flows in the order of the pipeline."""
    from flows.delivery import deliver  # noqa: PLC0415 - imports prefect
    from flows.ingestion import ingest  # noqa: PLC0415 - imports prefect
    from flows.submission import submit  # noqa: PLC0415 - imports prefect
    from flows.tracking import track  # noqa: PLC0415 - imports prefect

    return {
        "ingest": lambda: asyncio.run(ingest()),
        "submit": lambda: asyncio.run(submit()),
        "track": lambda: asyncio.run(track()),
        "deliver": lambda: asyncio.run(deliver()),
    }


@contextmanager
def _prefect_server(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """Run an embedded Prefect server beside us, unless the operator has named one."""
    if external_api_url() is not None:
        yield
        return
    directory = DataDirectory(settings.data_dir.absolute())
    directory.create()
    server = choose_server(directory, 0)
    os.environ.update(client_environment(server))
    supervisor = Supervisor()
    child = supervisor.start(server.role())
    try:
        while not child.is_ready and not stop.is_set():
            supervisor.look_after()
            time.sleep(READY_SECONDS)
        yield
        _send_last_logs()
    finally:
        supervisor.stop(SERVER_STOP_SECONDS)


def _send_last_logs() -> None:
    """Hand the logs of the last runs to the server while it is there."""
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415 - imports prefect

    async def flush() -> None:
        await asyncio.wait_for(APILogHandler.aflush(), LAST_LOGS_SECONDS)

    with suppress(TimeoutError):
        asyncio.run(flush())


@contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    last_resort = threading.Timer(LEAVE_SECONDS, _give_up)
    last_resort.daemon = True

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            last_resort.start()
        stop.set()

    before = {
        number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        last_resort.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _give_up() -> None:
    """End the process although a call hangs; our children end with us."""
    logger.error("a call did not end in time: the process ends now, the next run takes it up")
    logging.shutdown()
    os._exit(STOPPED)


def _in_a_thread(work: Callable[[], int]) -> int:
    """Run the work off the main thread, where Prefect installs no signal handler of its own."""
    outcome: list[int | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="cycles")
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
