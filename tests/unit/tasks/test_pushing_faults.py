"""Pushing to receivers that are slow, broken or gone, and pushes that are stopped or killed."""

import contextvars
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from factories import Store
from pushing_bench import (
    answered,
    define,
    pass_time,
    push,
    receiver,
    resources,
    running_receiver,
    states,
    store,
    webhook,
)
from web_receiver import (
    Behaviour,
    WebReceiver,
    accepts_all_but,
    answers,
    delays,
    first,
    never_answers,
    redirects,
    resets_mid_body,
    trickles,
)

from batching.errors import StopRequested
from batching.stopping import stop_signal
from storage.redelivery import Selection, cancel_deliveries, enable_destination, redeliver
from tasks import pushing
from tasks.delivery import complete_jobs
from tasks.resources import Resources

__all__ = ["receiver", "resources", "running_receiver", "store"]

PROGRAM = Path(__file__).parents[2] / "pushing_process.py"


@contextmanager
def under_way() -> Iterator[tuple["Future[int]", threading.Event]]:
    """Push in a thread of its own; give its outcome and the event that stops it."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool, stop_signal(stop):
        try:
            yield pool.submit(contextvars.copy_context().run, push), stop
        finally:
            stop.set()


def until(fact: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def keys(receiver: WebReceiver) -> Counter[str]:
    """Return how often each result came."""
    return Counter(post.headers["idempotency-key"] for post in receiver.received())


def attempts(store: Store) -> list[tuple[object, ...]]:
    found = store.rows("SELECT number, outcome, status_code FROM attempts ORDER BY attempted_at")
    return [tuple(row.values()) for row in found]


def batches(resources: Resources, receiver: WebReceiver, most_results: int) -> dict[str, str]:
    return define(
        resources,
        f'type = "webhook"\nurl = "{receiver.url("/crm")}"\nmode = "batch"\n'
        f"most_results = {most_results}\nlongest_wait_milliseconds = 10",
    )


# Answers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (redirects("/elsewhere"), ("http_status_not_2xx", 302)),
        (delays(5), ("timeout", None)),
        (never_answers(), ("timeout", None)),
        (trickles(0.2), ("timeout", None)),
        (resets_mid_body(), ("connection_error", None)),
    ],
    ids=["302", "slow", "silent", "trickling", "reset"],
)
def test_what_is_no_answer_in_time_is_a_failed_attempt_and_tried_again(
    store: Store,
    receiver: WebReceiver,
    resources: Resources,
    behaviour: Behaviour,
    told: tuple[str, int | None],
) -> None:
    changed = {"webhook_timeout_seconds": 0.4}
    resources.settings = resources.settings.model_copy(update=changed)
    receiver.set_behaviour("/hook", behaviour)
    answered(store, [webhook(receiver)])
    assert push() == 0
    assert attempts(store) == [(1, *told)]
    assert states(store) == {"pending": 1}

    receiver.set_behaviour("/hook", answers(200))
    pass_time(store)
    assert push() == 1
    assert {post.path for post in receiver.received()} == {"/hook"}
    assert list(keys(receiver).values()) == [2]


def test_a_receiver_that_asks_for_less_gets_fewer_posts_at_a_time(
    store: Store, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "LEAVE_SECONDS", 0.0)
    receiver.set_behaviour("/hook", first(8, answers(429), never_answers()))
    answered(store, [webhook(receiver)] * 40)
    with under_way() as (outcome, stop):
        until(lambda: receiver.count > 8)
        time.sleep(0.5)  # in which eight lanes would have sent their next
        assert receiver.count < 13
        stop.set()
        assert isinstance(outcome.exception(), StopRequested)


def test_a_receiver_that_refuses_every_result_of_its_batches_is_left_alone(
    store: Store, receiver: WebReceiver, resources: Resources
) -> None:
    receiver.set_behaviour("/crm", accepts_all_but(f"id-{number}" for number in range(400)))
    answered(store, [batches(resources, receiver, 10)] * 400)
    assert push() == 0
    assert receiver.count < 20
    assert store.value("SELECT openings FROM targets WHERE kind = 'named'") == 1


def test_single_results_that_are_refused_leave_the_target_as_it_is(
    store: Store, receiver: WebReceiver, resources: Resources
) -> None:
    refused = [f"id-{number}" for number in range(40) if number % 4]
    receiver.set_behaviour("/crm", accepts_all_but(refused))
    answered(store, [batches(resources, receiver, 4)] * 40)
    assert push() == 10
    assert states(store) == {"delivered": 10, "pending": 30}
    assert store.value("SELECT openings FROM targets WHERE kind = 'named'") == 0


# Stops and kills ----------------------------------------------------------------------------


def test_a_stop_gives_up_calls_that_do_not_end_and_loses_nothing(
    store: Store, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "LEAVE_SECONDS", 0.2)
    receiver.set_behaviour("/hook", never_answers())
    answered(store, [webhook(receiver)] * 30)
    with under_way() as (outcome, stop):
        until(lambda: receiver.count == 8)
        stop.set()
        assert isinstance(outcome.exception(20), StopRequested)
    assert states(store) == {"pending": 30}
    assert attempts(store) == []

    receiver.set_behaviour("/hook", answers(200))
    assert push() == 30
    assert sorted(keys(receiver).values()) == [1] * 22 + [2] * 8


def test_a_stop_lets_calls_end_that_are_nearly_done(store: Store, receiver: WebReceiver) -> None:
    receiver.set_behaviour("/hook", delays(0.5))
    answered(store, [webhook(receiver)] * 30)
    with under_way() as (outcome, stop):
        until(lambda: receiver.count == 8)
        stop.set()
        assert isinstance(outcome.exception(20), StopRequested)
    assert states(store) == {"delivered": 8, "pending": 22}
    receiver.set_behaviour("/hook", answers(200))
    assert push() == 22
    assert set(keys(receiver).values()) == {1}


def test_a_run_ends_though_more_is_due_and_the_next_one_goes_on(
    store: Store, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.set_behaviour("/hook", delays(0.2))
    answered(store, [webhook(receiver)] * 80)
    with monkeypatch.context() as patch:
        patch.setattr(pushing, "LONGEST_RUN_SECONDS", 0.5)
        taken = push()
    assert 0 < taken < 80
    receiver.set_behaviour("/hook", answers(200))
    assert push() == 80 - taken
    assert set(keys(receiver).values()) == {1}


def test_a_kill_between_answer_and_record_repeats_only_what_was_not_recorded(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/hook", delays(0.1))
    answered(store, [webhook(receiver)] * 400)
    command = [sys.executable, str(PROGRAM), str(store.directory.root)]
    pushing_process = subprocess.Popen(command)
    try:
        until(lambda: states(store).get("delivered"))
        with store.ledger.transaction():  # holds the ledger: nothing more can be recorded
            came = receiver.count
            until(lambda: receiver.count >= came + 30)
            pushing_process.send_signal(signal.SIGKILL)
            assert pushing_process.wait() == -signal.SIGKILL
    finally:
        pushing_process.kill()
        pushing_process.wait()
    recorded = {
        row["custom_id"]
        for row in store.rows(
            "SELECT custom_id FROM deliveries JOIN requests USING (segment, row_index) "
            "WHERE deliveries.state = 'delivered'"
        )
    }
    receiver.set_behaviour("/hook", answers(200))
    assert push() == 400 - len(recorded)

    times = Counter(post.json["custom_id"] for post in receiver.received())
    assert len(times) == 400
    assert set(times.values()) == {1, 2}
    assert recorded.isdisjoint(name for name, count in times.items() if count == 2)
    assert len(keys(receiver)) == 400  # what came twice came under the same key


# What operators do ---------------------------------------------------------------------------


def test_what_is_cancelled_is_not_sent(store: Store, receiver: WebReceiver) -> None:
    answered(store, [webhook(receiver)] * 3)
    answered(store, [webhook(receiver)] * 2, prefix="wanted")
    assert cancel_deliveries(store.ledger, Selection(job="id"), actor="me") == 3
    assert push() == 2
    assert states(store) == {"cancelled": 3, "delivered": 2}
    assert {post.json["custom_id"] for post in receiver.received()} == {"wanted-0", "wanted-1"}


def test_what_is_cancelled_on_its_way_stays_cancelled(store: Store, receiver: WebReceiver) -> None:
    receiver.set_behaviour("/hook", delays(1))
    answered(store, [webhook(receiver)])
    with under_way() as (outcome, _):
        until(lambda: receiver.count)
        assert cancel_deliveries(store.ledger, Selection(), actor="me") == 1
        outcome.result()
    assert states(store) == {"cancelled": 1}
    assert attempts(store) == [(1, "success", 200)]


def test_delivered_results_are_brought_again_under_their_keys_and_their_attempts_count_on(
    store: Store, receiver: WebReceiver
) -> None:
    answered(store, [webhook(receiver)])
    assert push() == 1
    for _ in range(2):
        assert redeliver(store.ledger, Selection(job="id"), failed_only=False, actor="me") == 1
        assert push() == 1
    assert list(keys(receiver).values()) == [3]
    assert attempts(store) == [(number, "success", 200) for number in (1, 2, 3)]


def test_a_destination_that_was_disabled_gets_new_results_once_it_is_enabled(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/hook", first(1, answers(410)))
    answered(store, [webhook(receiver)])
    assert push() == 0
    target = store.value("SELECT target FROM destinations WHERE kind = 'webhook'")
    assert enable_destination(store.ledger, target, actor="me") == 1
    answered(store, [webhook(receiver)], prefix="later")
    assert push() == 1
    assert states(store) == {"delivered": 1, "exhausted": 1}


def test_a_job_ends_when_its_results_are_given_up_but_not_while_they_wait(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/hook", first(1, answers(500), answers(410)))
    answered(store, [webhook(receiver)])
    assert push() == 0
    assert complete_jobs.fn() == []
    pass_time(store)
    assert push() == 0
    assert states(store) == {"exhausted": 1}
    assert complete_jobs.fn() == ["id"]
