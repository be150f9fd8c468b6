"""Which due runs are begun and which are skipped."""

import uuid
from datetime import UTC, datetime, timedelta

from prefect.client.schemas.objects import FlowRun

from deployments import claiming

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
A, B = uuid.uuid4(), uuid.uuid4()


def run(deployment: uuid.UUID, minute: int, *, scheduled: bool = True) -> FlowRun:
    return FlowRun(
        flow_id=uuid.uuid4(),
        deployment_id=deployment,
        auto_scheduled=scheduled,
        next_scheduled_start_time=FIRST + timedelta(minutes=minute),
    )


def choose(runs: list[FlowRun], busy: set[uuid.UUID]) -> tuple[list[FlowRun], list[FlowRun]]:
    choice = claiming.choose(runs, busy)
    return list(choice.begin), list(choice.skip)


def test_of_missed_scheduled_runs_the_newest_stays_and_the_others_are_skipped() -> None:
    runs = [run(A, minute) for minute in range(4)]
    assert choose(runs, set()) == ([runs[3]], runs[:3])


def test_each_free_deployment_begins_one_run() -> None:
    runs = [run(A, 0), run(B, 0)]
    assert choose(runs, set()) == (runs, [])


def test_a_busy_deployment_begins_none_but_its_missed_runs_are_skipped() -> None:
    runs = [run(A, 0), run(A, 1), run(B, 1)]
    assert choose(runs, {A}) == ([runs[2]], [runs[0]])


def test_a_run_that_somebody_asked_for_comes_first_and_is_never_skipped() -> None:
    asked = [run(A, 0, scheduled=False), run(A, 2, scheduled=False)]
    scheduled = run(A, 1)
    assert choose([asked[0], scheduled, asked[1]], set()) == ([asked[0]], [])
