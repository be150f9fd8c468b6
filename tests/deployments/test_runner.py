"""The in-process runner against a real Prefect server."""

import asyncio
import contextvars
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sample_flows
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelling, Pending, Running

from deployments.nudging import Nudges
from deployments.prefect_server import PrefectServer
from deployments.registration import register
from deployments.runner import Runner, Watch
from deployments.scheduling import Schedule
from storage.health import HealthFile, read_health

pytestmark = [
    pytest.mark.prefect,
    # Prefect leaves sockets of its clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

YEAR_SECONDS = 365 * 86_400.0
Eventually = Callable[..., None]


@dataclass
class Bench:
    """A runner in a thread, and the client with which a test looks at Prefect."""

    client: SyncPrefectClient
    folder: Path
    stops: list[Callable[[], bool]] = field(default_factory=list)

    def schedule(
        self, flow: str, seconds: float = YEAR_SECONDS, *, has_work: bool = True
    ) -> Schedule:
        return Schedule(
            flow=getattr(sample_flows, flow),
            # A name of its own for each test: they share one server.
            name=f"{flow}-{uuid.uuid4().hex[:8]}",
            interval_seconds=seconds,
            has_work=lambda: has_work,
        )

    def register(self, schedule: Schedule) -> uuid.UUID:
        async def apply() -> uuid.UUID:
            async with get_client() as client:
                (deployment_id,) = await register(client, [schedule])
            return deployment_id

        return asyncio.run(apply())

    def start(self, *schedules: Schedule, watch: Watch | None = None) -> Nudges:
        """Start a runner; return the nudges that it listens to."""
        nudges = Nudges(schedule.name for schedule in schedules)
        ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        ended: list[bool] = []

        async def live() -> None:
            stop = asyncio.Event()
            ready.append((asyncio.get_running_loop(), stop))
            health = HealthFile(self.folder, "pipeline")
            runner = Runner(schedules, nudges=nudges, health=health, watch=watch)
            ended.append(await runner.run(stop))

        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(asyncio.run, live()), daemon=True)
        thread.start()

        def end() -> bool:
            if thread.is_alive():
                loop, stop = ready[0]
                loop.call_soon_threadsafe(stop.set)
                thread.join(20)
            return ended == [True]

        self.stops.append(end)
        return nudges

    def stop(self) -> bool:
        """Stop the runners; return whether all their flows ended in time."""
        ends = [end() for end in self.stops]
        return all(ends)

    def runs(self, schedule: Schedule) -> list[FlowRun]:
        name = DeploymentFilter.model_validate({"name": {"any_": [schedule.name]}})
        found = self.client.read_flow_runs(deployment_filter=name, limit=200)
        return sorted(found, key=lambda run: run.expected_start_time)

    def state(self, run_id: uuid.UUID) -> State[Any]:
        state = self.client.read_flow_run(run_id).state
        assert state is not None
        return state

    def states(self, schedule: Schedule) -> list[str]:
        """Return the names of the states of all runs that have been begun or ended."""
        names = [run.state.name for run in self.runs(schedule)]
        return [name for name in names if name not in {"Scheduled", "Late"}]

    def deployment_id(self, schedule: Schedule) -> uuid.UUID:
        return self.client.read_deployment_by_name(f"{schedule.flow.name}/{schedule.name}").id


@pytest.fixture
def bench(prefect_server: PrefectServer, tmp_path: Path) -> Iterator[Bench]:
    sample_flows.calls.clear()
    sample_flows.release.clear()
    values = {PREFECT_API_URL: prefect_server.api_url, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(values), get_client(sync_client=True) as client:
        bench = Bench(client=client, folder=tmp_path)
        yield bench
        bench.stop()
        sample_flows.release.set()
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


def is_running(bench: Bench) -> bool:
    health = read_health(bench.folder, "pipeline")
    return health is not None and health.state == "running"


def test_a_scheduled_run_is_executed(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("quick", 1)
    bench.start(schedule)
    eventually(
        lambda: any(r.auto_scheduled and r.state.name == "Completed" for r in bench.runs(schedule))
    )
    assert "quick" in sample_flows.calls


def test_a_scheduled_run_without_work_is_skipped_and_says_why(
    bench: Bench, eventually: Eventually
) -> None:
    schedule = bench.schedule("quick", 1, has_work=False)
    bench.start(schedule)
    eventually(lambda: "Skipped" in bench.states(schedule))
    skipped = [run.state.message for run in bench.runs(schedule) if run.state.name == "Skipped"]
    assert "nothing to do" in skipped
    assert sample_flows.calls == []


def test_a_run_that_somebody_asks_for_is_executed_even_without_work(
    bench: Bench, eventually: Eventually
) -> None:
    schedule = bench.schedule("quick", has_work=False)
    bench.start(schedule)
    eventually(lambda: is_running(bench))
    run = bench.client.create_flow_run_from_deployment(bench.deployment_id(schedule))
    eventually(lambda: bench.state(run.id).is_completed() is True)
    assert sample_flows.calls == ["quick"]


def test_of_missed_runs_only_the_newest_is_executed(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("quick", 1)
    deployment_id = bench.register(schedule)

    def missed() -> list[Any]:
        now = datetime.now(UTC)
        return [run for run in bench.runs(schedule) if run.expected_start_time < now]

    eventually(lambda: len(missed()) >= 5)
    bench.client.pause_deployment(deployment_id)
    due = [run.id for run in missed()]
    late = bench.client.get_scheduled_flow_runs_for_deployments([deployment_id])
    waiting = [run.id for run in late if run.id in due]
    bench.start(schedule)
    eventually(lambda: all(bench.state(id_).is_completed() for id_ in waiting))
    names = [bench.state(id_).name for id_ in waiting]
    assert len(names) >= 3
    assert names[:-1] == ["Skipped"] * (len(names) - 1)


def test_runs_that_a_dead_runner_left_open_are_ended(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("quick", has_work=False)
    deployment_id = bench.register(schedule)
    zombies = {}
    for state in (Pending(), Running(), Cancelling()):
        run = bench.client.create_flow_run_from_deployment(deployment_id)
        bench.client.set_flow_run_state(run.id, state, force=True)
        zombies[run.id] = state.name
    bench.start(schedule)
    eventually(lambda: all(bench.state(id_).is_final() for id_ in zombies))
    ends = {name: bench.state(id_).name for id_, name in zombies.items()}
    assert ends == {"Pending": "Crashed", "Running": "Crashed", "Cancelling": "Cancelled"}


def test_a_run_cancelled_by_an_operator_ends_cancelled(
    bench: Bench, eventually: Eventually
) -> None:
    schedule = bench.schedule("held", has_work=False)
    nudges = bench.start(schedule)
    nudges.nudge(schedule.name)
    eventually(lambda: bench.states(schedule) == ["Running"])
    (run,) = bench.runs(schedule)[:1]
    bench.client.set_flow_run_state(run.id, Cancelling())
    eventually(lambda: bench.state(run.id).is_final() is True)
    assert bench.state(run.id).name == "Cancelled"


def test_nudges_while_one_waits_make_one_extra_run(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("held", has_work=False)
    nudges = bench.start(schedule)
    nudges.nudge(schedule.name)
    eventually(lambda: bench.states(schedule) == ["Running"])
    for _ in range(5):
        nudges.nudge(schedule.name)
    sample_flows.release.set()
    eventually(lambda: bench.states(schedule) == ["Completed", "Completed"])
    asked_for = [run for run in bench.runs(schedule) if not run.auto_scheduled]
    assert [("nudged" in run.tags) for run in asked_for] == [True, True]


def test_the_watch_nudges_what_it_names(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("quick", has_work=False)
    seen = iter([[schedule.name]])
    bench.start(schedule, watch=lambda: next(seen, []))
    eventually(lambda: sample_flows.calls == ["quick"])


def test_a_watch_that_fails_once_is_asked_again(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("quick", has_work=False)
    answers: list[Any] = [OSError("no such folder"), [schedule.name]]

    def watch() -> list[str]:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, OSError):
            raise answer
        return answer

    bench.start(schedule, watch=watch)
    eventually(lambda: sample_flows.calls == ["quick"])


def test_a_flow_that_raises_is_recorded_as_failed_and_the_others_go_on(
    bench: Bench, eventually: Eventually
) -> None:
    broken, fine = bench.schedule("failing", 1), bench.schedule("other", 1)
    bench.start(broken, fine)
    eventually(lambda: bench.states(broken).count("Failed") >= 2)
    eventually(lambda: "Completed" in bench.states(fine))


def test_a_deployment_runs_one_at_a_time(bench: Bench, eventually: Eventually) -> None:
    schedule = bench.schedule("held", 1)
    bench.start(schedule)
    eventually(lambda: "Skipped" in bench.states(schedule))
    assert bench.states(schedule).count("Running") == 1
    assert sample_flows.calls == ["held"]


def test_a_paused_deployment_stays_paused_and_is_not_nudged(
    bench: Bench, eventually: Eventually
) -> None:
    schedule, other = bench.schedule("quick"), bench.schedule("other")
    bench.client.pause_deployment(bench.register(schedule))
    nudges = bench.start(schedule, other)
    nudges.nudge(schedule.name)
    nudges.nudge(other.name)
    eventually(lambda: "Completed" in bench.states(other))
    assert bench.client.read_deployment(bench.deployment_id(schedule)).paused
    assert bench.states(schedule) == []


def test_stopping_leaves_no_run_open(bench: Bench, eventually: Eventually) -> None:
    schedules = [bench.schedule("held"), bench.schedule("polite")]
    bench.start(*schedules)
    eventually(lambda: all(bench.states(schedule) == ["Running"] for schedule in schedules))
    assert bench.stop()
    assert [bench.states(schedule) for schedule in schedules] == [["Stopped"], ["Completed"]]


def test_a_flow_that_does_not_stop_is_given_up_and_recorded_as_crashed(
    bench: Bench, eventually: Eventually
) -> None:
    schedule = bench.schedule("deaf")
    bench.start(schedule)
    eventually(lambda: bench.states(schedule) == ["Running"])
    began = time.monotonic()
    assert not bench.stop()
    assert timedelta(seconds=time.monotonic() - began) < timedelta(seconds=30)
    assert bench.states(schedule) == ["Crashed"]
