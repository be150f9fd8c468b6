"""Clocks that are put forward and back, and machines that sleep: nothing stuck, nothing doubled."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plain_pipeline import plain_flows
from prefect import flow as prefect_flow
from prefect.server.schemas.schedules import IntervalSchedule
from put_clocks import PutClock, put_clock
from web_receiver import WebReceiver, answers

from deployments.scheduling import Schedule, as_deployment
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger
from tasks.resources import Resources, using
from tasks.upkeep import back_up, forget_old_files

Chat = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.timeout(600)
FLOWS = ("ingest", "submit", "track", "deliver")
YEAR = 24.0 * 365
STATE = "SELECT state FROM batches"
COMPLETED = "SELECT count(*) FROM jobs WHERE completed_at IS NOT NULL"


@pytest.fixture
def clock() -> Iterator[PutClock]:
    with put_clock() as clock:
        yield clock


@contextmanager
def at_work(installation: Any, **changes: object) -> Iterator[Callable[..., None]]:
    """Run single flows: `flow("track")`, with these settings."""
    settings = installation.settings.model_copy(update=changes)
    resources = Resources(settings, close_at_once=True)

    def flow(*names: str) -> None:
        for name in names:
            plain_flows()[name]()

    with using(resources), closing(resources):
        yield flow


def value(installation: Any, sql: str) -> Any:
    with Ledger.open(DataDirectory(installation.data)).transaction() as reader:
        return reader.value(sql)


def to_the_end(installation: Any, **changes: object) -> int:
    """Run until idle, with all the patience that a busy machine may need."""
    code: int = installation.run(timeout_seconds=300, **changes)
    return code


def work_until(holds: Callable[[], object], flow: Callable[..., None], *names: str) -> None:
    """Run these flows until it holds."""
    for _ in range(200):
        flow(*names)
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it never held")


def demand_each_once(installation: Any, job: str, requests: list[dict[str, Any]]) -> None:
    delivered = Counter(line["custom_id"] for line in installation.results(job))
    assert delivered == Counter(request["custom_id"] for request in requests)


@pytest.mark.slow
@pytest.mark.parametrize("hours", [YEAR, -1, -YEAR])
def test_the_clock_is_put_after_any_flow_and_everything_is_answered_once(
    hours: float, installation: Any, chat: Chat, clock: PutClock, proven: Callable[..., None]
) -> None:
    before = installation.simulator.counters()
    for number, last in enumerate(FLOWS):
        requests = [chat(f"{hours} {last} {line}") for line in range(3)]
        installation.drop(f"job-{number}.jsonl", requests)
        with at_work(installation) as flow:
            flow(*FLOWS[: number + 1])
        clock.put(hours=hours)
        assert to_the_end(installation) == 0
        demand_each_once(installation, f"job-{number}", requests)

    after = installation.simulator.counters()
    assert after["lines_paid"] - before["lines_paid"] == 12
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert examine(DataDirectory(installation.data), patience_seconds=0.0).findings == ()
    proven(faults=4, requests=12, lost=0, double_paid=0)


@pytest.mark.parametrize("hours", [1, YEAR])
def test_a_clock_that_is_put_forward_does_not_prove_that_a_batch_is_absent(
    hours: float, installation: Any, chat: Chat, clock: PutClock
) -> None:
    installation.simulator.set_scenarios("dropped_create:batch=hidden,hidden_seconds=3")
    created = installation.simulator.counters()["batches_created"]
    installation.drop("job.jsonl", [chat(f"hidden {hours}")])
    with at_work(installation, submit_proof_seconds=600) as flow:
        flow("ingest", "submit")
        for _ in range(3):
            clock.put(hours=hours)
            flow("submit")
        assert value(installation, "SELECT create_attempt FROM batches") == 1
        assert value(installation, STATE) in {"submitting", "submitted"}
        while value(installation, STATE) == "submitting":
            time.sleep(0.2)
            flow("submit")

    assert to_the_end(installation) == 0
    assert installation.simulator.counters()["batches_created"] == created + 1


@pytest.mark.parametrize("hours", [-1, -YEAR])
def test_a_clock_that_is_put_back_does_not_hold_up_the_proof_that_a_batch_is_absent(
    hours: float, installation: Any, chat: Chat, clock: PutClock
) -> None:
    installation.simulator.set_scenarios("dropped_create:batch=never")
    installation.drop("job.jsonl", [chat(f"never {hours}")])
    with at_work(installation) as flow:
        flow("ingest", "submit")
    assert value(installation, STATE) == "submitting"
    clock.put(hours=hours)

    assert to_the_end(installation) == 0
    assert installation.states == {"succeeded": 1}


@pytest.mark.parametrize("is_corrected", [False, True])
def test_a_batch_is_found_though_the_clock_was_a_year_ahead_when_it_was_created(
    *, is_corrected: bool, installation: Any, chat: Chat, clock: PutClock
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.simulator.set_scenarios(
        "dropped_create:batch=hidden,hidden_seconds=1", next_batches=1
    )
    clock.put(hours=YEAR)
    installation.drop("job.jsonl", [chat(f"ahead {is_corrected}")])
    with at_work(installation) as flow:
        flow("ingest", "submit")
    if is_corrected:
        clock.put(hours=-YEAR)
    time.sleep(1)

    assert to_the_end(installation) == 0
    assert installation.simulator.counters()["batches_created"] == created + 1


def test_a_machine_that_slept_does_not_give_up_a_batch_as_lost(
    installation: Any, chat: Chat, clock: PutClock
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.drop("job.jsonl", [chat("asleep")])
    installation.simulator.set_scenarios("vanished:polls=3")
    with at_work(installation, lost_batch_seconds=3600) as flow:
        flow("ingest", "submit")
        for _ in range(3):
            flow("track")
            clock.put(hours=8)
        assert value(installation, STATE) == "submitted"

    assert to_the_end(installation) == 0
    assert installation.simulator.counters()["batches_created"] == created + 1


def test_a_machine_that_slept_does_not_give_up_results_that_could_not_be_read(
    installation: Any, chat: Chat, clock: PutClock
) -> None:
    installation.drop("job.jsonl", [chat("unreadable for a while")])
    installation.simulator.set_scenarios("missing_downloads:times=2")
    with at_work(installation, results_grace_seconds=86_400) as flow:
        flow("ingest", "submit")
        work_until(lambda: value(installation, STATE) == "ended", flow, "track")
        clock.put(hours=30)
        flow("track")
        assert value(installation, STATE) == "ended"
        clock.put(hours=30)
        flow("track")

    assert to_the_end(installation) == 0
    assert installation.states == {"succeeded": 1}


def test_a_year_ahead_nothing_that_is_unfinished_or_undelivered_is_forgotten(
    installation: Any, chat: Chat, clock: PutClock
) -> None:
    with WebReceiver() as receiver:
        receiver.set_behaviour("/hook", answers(503))
        hook = {"type": "webhook", "webhook_url": receiver.url("/hook")}
        installation.drop("hook.jsonl", [chat("undelivered")], delivery_config=hook)
        installation.drop("file.jsonl", [chat("delivered")])
        changes = {"webhook_allow_private": "true"}
        with at_work(installation, **changes) as flow:
            work_until(lambda: receiver.count and value(installation, COMPLETED) == 1, flow, *FLOWS)
            installation.simulator.set_scenarios("stuck:phase=in_progress")
            installation.drop("stuck.jsonl", [chat("on its way")])
            flow("ingest", "submit", "track")
            installation.drop("late.jsonl", [chat("only taken in")])
            flow("ingest")
            clock.put(hours=YEAR)
            forget_old_files.fn()
            back_up.fn()
        assert installation.states == {"succeeded": 1, "batched": 1, "pending": 1}

        receiver.set_behaviour("/hook", answers(200))
        installation.simulator.release()
        installation.simulator.clear_scenarios()
        assert to_the_end(installation, **changes) == 0
        assert receiver.received()[-1].json["custom_id"] == "undelivered"
    demand_each_once(installation, "stuck", [chat("on its way")])
    demand_each_once(installation, "late", [chat("only taken in")])
    assert examine(DataDirectory(installation.data), patience_seconds=0.0).findings == ()


def test_what_was_to_be_tried_again_is_when_the_clock_is_put_back(
    installation: Any, chat: Chat, clock: PutClock
) -> None:
    with WebReceiver() as receiver:
        receiver.set_behaviour("/hook", answers(503))
        hook = {"type": "webhook", "webhook_url": receiver.url("/hook")}
        installation.drop("hook.jsonl", [chat(f"{n}") for n in range(20)], delivery_config=hook)
        changes = {"webhook_allow_private": "true"}
        is_open = "SELECT count(*) FROM targets WHERE open_until IS NOT NULL"
        with at_work(installation, **changes) as flow:
            work_until(lambda: value(installation, is_open), flow, *FLOWS)
        receiver.set_behaviour("/hook", answers(200))
        clock.put(hours=-YEAR)

        assert to_the_end(installation, **changes) == 0
        taken = [post for post in receiver.received() if post.status == 200]
        assert sorted(post.json["custom_id"] for post in taken) == sorted(f"{n}" for n in range(20))


@pytest.mark.parametrize("hours", [-24, -YEAR])
def test_files_and_requests_of_tomorrow_do_not_wait_for_it(
    hours: float, installation: Any, chat: Chat, clock: PutClock
) -> None:
    installation.drop("first.jsonl", [chat(f"accepted {hours}")])
    with at_work(installation) as flow:
        flow("ingest")
    installation.drop("second.jsonl", [chat(f"dropped {hours}")])
    clock.put(hours=hours)
    changes = {"file_stable_seconds": 30, "batch_max_wait_seconds": 3600}
    settings = installation.settings.model_copy(update=changes)
    with using(resources := Resources(settings)), closing(resources):
        for flow_name in ("submit", "ingest"):
            plain_flows()[flow_name]()

    assert installation.states == {"batched": 1, "pending": 1}
    assert to_the_end(installation) == 0
    assert installation.states == {"succeeded": 2}


def test_a_backoff_does_not_outlast_the_longest_pause_when_the_clock_is_put_back(
    installation: Any, chat: Chat, clock: PutClock
) -> None:
    installation.simulator.set_scenarios("token_limit:times=1")
    installation.drop("job.jsonl", [chat("refused once")])
    with at_work(installation, capacity_backoff_seconds=1800) as flow:
        flow("ingest", "submit")
        work_until(lambda: value(installation, STATE) == "uploaded", flow, "track")
    assert value(installation, "SELECT backoff_until IS NOT NULL FROM lanes")
    clock.put(hours=-24)

    assert to_the_end(installation) == 0


@prefect_flow
def idle() -> None:
    """Do nothing."""


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process live where clocks are put forward in March and back in October."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("change", ["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"])
def test_daylight_saving_changes_nothing(
    change: str, installation: Any, chat: Chat, clock: PutClock
) -> None:
    moment = datetime.fromisoformat(change)
    for number, minutes in enumerate((-30, 30)):
        clock.offset = moment - datetime.now(UTC) + timedelta(minutes=minutes)
        installation.drop(f"job-{number}.jsonl", [chat(f"{change} {number}")])
        with at_work(installation) as flow:
            flow("ingest", "submit")
        accepted_at = value(installation, "SELECT max(accepted_at) FROM requests")
        waited = (accepted_at - moment).total_seconds() / 60 - minutes
        assert 0 <= waited < 10
    assert to_the_end(installation) == 0
    assert installation.states == {"succeeded": 2}


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("change", ["2026-03-29T00:58:30+00:00", "2026-10-25T00:58:30+00:00"])
def test_schedules_go_on_at_the_same_pace_over_a_change_of_daylight_saving(change: str) -> None:
    schedule = Schedule(flow=idle, name="idle", interval_seconds=60, has_work=lambda: False)
    (planned,) = as_deployment(schedule).schedules or []
    start = datetime.fromisoformat(change)
    kept_by_the_server = IntervalSchedule(**planned.schedule.model_dump())
    dates = asyncio.run(kept_by_the_server.get_dates(n=5, start=start))
    assert [date.timestamp() - start.timestamp() for date in dates] == [30, 90, 150, 210, 270]
