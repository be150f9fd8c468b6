"""What the pipeline process carries out: the five flows, and the lookout that wakes them."""

import time
from collections.abc import Callable

from batching.settings import Settings
from deployments.pipeline import Work
from storage.accounts import make_probes_due
from storage.batches import make_looks_due
from storage.health import HealthFile
from storage.log_files import is_log, logs_are_due
from storage.snapshots import ledger_generation
from tasks.lookout import FLOW_NAMES, flows_with_work
from tasks.resources import Resources, use

LONGEST_LOOK_SECONDS = 15.0
"""Work that only becomes due with time (a poll, a pause that ends) is noticed by then."""


class Lookout:
    """Remembers the last look, so that an idle system is not looked through each second."""

    def __init__(self, resources: Resources, health: HealthFile) -> None:
        self._resources = resources
        self._health = health
        self._provider_answered_at = resources.last_answer_at
        self._seen = ""
        self._looked_at = float("-inf")
        self._interval_seconds = min(LONGEST_LOOK_SECONDS, resources.settings.poll_min_seconds)

    def busy_flows(self) -> frozenset[str]:
        """Return the flows to nudge: those with work, if anything may have changed."""
        if self._resources.last_answer_at != self._provider_answered_at:
            self._provider_answered_at = self._resources.last_answer_at
            self._health.answered("openai")
        if not self._may_have_changed():
            return frozenset()
        return flows_with_work(self._resources, nudging=True)

    def _may_have_changed(self) -> bool:
        state = f"{ledger_generation(self._resources.directory)} {self._inbox_state()}"
        since = time.monotonic() - self._looked_at
        if state == self._seen and since < self._interval_seconds:
            return False
        self._seen, self._looked_at = state, time.monotonic()
        return True

    def _inbox_state(self) -> str:
        """Return something that is new each second while work lies in the inbox."""
        directory, settings = self._resources.directory, self._resources.settings
        waiting = logs_are_due(directory, patience_seconds=settings.interval_ingest_seconds) or (
            directory.inbox.exists()
            and any(not is_log(path.name) for path in directory.inbox.iterdir())
        )
        return str(int(time.monotonic())) if waiting else ""


def load_work(settings: Settings, health: HealthFile) -> Work:
    """Return schedules and lookout; importing the flows imports prefect."""
    from deployments.schedules import build_schedules  # noqa: PLC0415 - imports prefect

    resources = Resources(settings)
    use(resources)
    make_probes_due(resources.ledger)
    make_looks_due(resources.ledger)

    def asks_for(name: str) -> Callable[[], bool]:
        return lambda: name == "upkeep" or name in flows_with_work(resources)

    return Work(
        schedules=build_schedules(settings, {name: asks_for(name) for name in FLOW_NAMES}),
        watch=Lookout(resources, health).busy_flows,
    )
