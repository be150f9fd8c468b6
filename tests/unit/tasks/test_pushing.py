"""Pushing results to a real receiver in another process and to a real broker."""

import json
import resource
from contextlib import suppress
from typing import Any

import pytest
from broker import Broker, broker
from factories import Store, chat_line, failure_line, success_line
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
from pydantic import SecretStr
from web_receiver import WebReceiver, answers, delays, first, throttles

from batching.errors import ConfigurationError, DiskFull
from storage.deliveries import record_attempts
from storage.jobs import cancel_job
from storage.redelivery import Selection, enable_destination, redeliver
from storage.results import write_own_results_of_requests
from tasks import push_recording
from tasks.lookout import flows_with_work
from tasks.resources import Resources

__all__ = ["broker", "receiver", "resources", "running_receiver", "store"]


def with_broker(resources: Resources, url: str) -> None:
    resources.settings = resources.settings.model_copy(update={"rabbitmq_url": SecretStr(url)})


def test_each_result_arrives_once_under_its_own_key(store: Store, receiver: WebReceiver) -> None:
    answered(store, [webhook(receiver)] * 30)
    assert push() == 30

    came = receiver.received()
    assert sorted(post.json["custom_id"] for post in came) == sorted(f"id-{n}" for n in range(30))
    assert len({post.headers["idempotency-key"] for post in came}) == 30
    assert states(store) == {"delivered": 30}
    assert store.value("SELECT count(*) FROM attempts") == 30
    assert push() == 0


def test_nothing_to_push_is_no_work(resources: Resources) -> None:
    resources.ledger.installation()
    assert push() == 0
    assert "deliver" not in flows_with_work(resources, max_age_seconds=0)


def test_a_failure_is_tried_again_at_its_time_with_the_same_key(
    store: Store, receiver: WebReceiver, resources: Resources
) -> None:
    receiver.set_behaviour("/hook", first(1, answers(500, "broken")))
    answered(store, [webhook(receiver)])
    assert push() == 0
    assert states(store) == {"pending": 1}
    assert "deliver" not in flows_with_work(resources, max_age_seconds=0)
    pass_time(store)
    assert "deliver" in flows_with_work(resources, max_age_seconds=0)
    assert push() == 1

    keys = [post.headers["idempotency-key"] for post in receiver.received()]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    tries = store.rows("SELECT number, outcome, status_code FROM attempts ORDER BY number")
    assert tries == [
        {"number": 1, "outcome": "http_status_not_2xx", "status_code": 500},
        {"number": 2, "outcome": "success", "status_code": 200},
    ]


def test_a_receiver_that_asks_for_a_pause_is_left_alone(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/hook", throttles(600))
    answered(store, [webhook(receiver)])
    assert push() == 0
    seconds = store.value("SELECT epoch(min(next_attempt_at) - max(created_at)) FROM deliveries")
    assert seconds > 590
    assert store.value("SELECT open_until > now()::TIMESTAMP + INTERVAL 590 SECOND FROM targets")


def test_410_disables_the_destination_until_it_is_enabled(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/gone", first(1, answers(410)))
    answered(store, [webhook(receiver, "/gone")])
    assert push() == 0
    answered(store, [webhook(receiver, "/gone")], prefix="later")
    assert push() == 0

    assert states(store) == {"exhausted": 2}
    assert receiver.count == 1
    assert "410" in store.value("SELECT problem FROM deliveries ORDER BY delivery_id DESC LIMIT 1")
    assert redeliver(store.ledger, Selection(job="later"), failed_only=True, actor="me") == 1
    assert push() == 1
    assert (
        enable_destination(
            store.ledger,
            store.value("SELECT target FROM destinations WHERE kind = 'webhook'"),
            actor="me",
        )
        == 0
    )


def test_a_dead_target_is_left_alone_after_a_few_attempts_and_probed_with_one(
    store: Store, receiver: WebReceiver
) -> None:
    receiver.set_behaviour("/hook", first(40, answers(500)))
    answered(store, [webhook(receiver)] * 60)
    assert push() == 0
    tried = receiver.count
    assert 10 <= tried <= 20
    assert store.value("SELECT openings FROM targets") == 1
    pass_time(store)
    assert push() == 0
    assert receiver.count == tried + 1
    receiver.set_behaviour("/hook", answers(200))
    pass_time(store)
    assert push() == 60
    assert states(store) == {"delivered": 60}


def test_named_batches_carry_many_results_a_post(
    store: Store, receiver: WebReceiver, resources: Resources
) -> None:
    text = f'type = "webhook"\nurl = "{receiver.url("/crm")}"\nmode = "batch"\n'
    crm = define(resources, text + "most_results = 20\nlongest_wait_milliseconds = 10")
    answered(store, [crm] * 50)
    assert push() == 50
    assert sorted(len(post.lines) for post in receiver.received()) == [10, 20, 20]


def test_a_name_that_is_gone_burns_no_attempt(store: Store) -> None:
    answered(store, [{"type": "named", "name": "crm"}])
    assert push() == 0
    assert states(store) == {"pending": 1}
    assert store.value("SELECT count(*) FROM attempts") == 0
    assert "crm" in store.value("SELECT problem FROM targets")


def test_results_that_were_sent_and_not_recorded_come_again_under_the_same_key(
    store: Store, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise MemoryError

    answered(store, [webhook(receiver)] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(push_recording, "record_attempts", crash)
        with pytest.raises((MemoryError, BaseExceptionGroup)):
            push()
    assert states(store) == {"pending": 5}
    assert push() == 5
    keys = [post.headers["idempotency-key"] for post in receiver.received()]
    assert len(keys) == 10
    assert len(set(keys)) == 5


@pytest.mark.parametrize("most_unrecorded", [20_000, 10])
def test_what_could_not_be_recorded_at_first_is_recorded_when_that_works_again(
    store: Store, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch, most_unrecorded: int
) -> None:
    failures = [OSError("the disk is away")]

    def fail_once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        record_attempts(*arguments)

    receiver.set_behaviour("/slow", delays(0.6))
    answered(store, [webhook(receiver)] * 12 + [webhook(receiver, "/slow")] * 12)
    monkeypatch.setattr(push_recording, "record_attempts", fail_once)
    monkeypatch.setattr(push_recording, "MOST_UNRECORDED", most_unrecorded)
    monkeypatch.setattr(push_recording, "LONGEST_UNRECORDED_SECONDS", 0.3)
    with suppress(OSError):
        push()

    sent = receiver.count
    assert states(store).get("delivered") == sent
    push()
    assert states(store) == {"delivered": 24}
    assert receiver.count == 24


def test_a_ledger_that_cannot_be_written_keeps_everything_from_being_sent(
    store: Store, receiver: WebReceiver
) -> None:
    answered(store, [webhook(receiver)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises((DiskFull, ConfigurationError)):
            push()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert receiver.count == 0
    assert push() == 1


def test_messages_arrive_in_the_queue(store: Store, resources: Resources, broker: Broker) -> None:
    queue = broker.declare_queue("pushed", {})
    with_broker(resources, broker.url)
    answered(store, [{"type": "rabbitmq", "rabbitmq_queue": queue}] * 30)
    assert push() == 30
    assert len({properties.message_id for properties, _ in broker.take_all(queue)}) == 30


def test_a_queue_that_is_not_there_is_a_failed_attempt(
    store: Store, resources: Resources, broker: Broker
) -> None:
    with_broker(resources, broker.url)
    answered(store, [{"type": "rabbitmq", "rabbitmq_queue": "not there"}])
    assert push() == 0
    assert store.value("SELECT outcome FROM attempts") == "queue_not_found"


def test_a_broker_that_is_down_burns_no_attempt(store: Store, resources: Resources) -> None:
    with_broker(resources, "amqp://guest:guest@127.0.0.1:9/")
    answered(store, [{"type": "rabbitmq", "rabbitmq_queue": "q"}] * 3)
    assert push() == 0
    assert states(store) == {"pending": 3}
    assert store.value("SELECT count(*) FROM attempts") == 0
    assert store.value("SELECT last_outcome FROM targets WHERE kind = 'rabbitmq'") == (
        "connection_error"
    )


def test_results_that_share_a_message_keep_their_own_keys(
    store: Store, resources: Resources, broker: Broker
) -> None:
    queue = broker.declare_queue("bundled", {})
    with_broker(resources, broker.url)
    crm = define(resources, f'type = "rabbitmq"\nqueue = "{queue}"\nmost_results = 4')
    answered(store, [crm] * 10)
    assert push() == 10
    bodies = [body for _, body in broker.take_all(queue)]
    assert sorted(len(body.splitlines()) for body in bodies) == [2, 4, 4]
    lines = [json.loads(line) for body in bodies for line in body.splitlines()]
    assert {line["result"]["custom_id"] for line in lines} == {f"id-{n}" for n in range(10)}
    assert len({line["id"] for line in lines}) == 10


def test_failed_and_cancelled_requests_are_told_too(store: Store, receiver: WebReceiver) -> None:
    line = json.loads(chat_line("x")) | {"delivery_config": webhook(receiver)}
    store.take_in([json.dumps(line | {"custom_id": name}).encode() for name in ("bad", "good")])
    batch = store.ended()
    bad, good = store.wire_ids(batch)
    store.collect(batch, [success_line(good)], [failure_line(bad)])
    store.take_in([json.dumps(line).encode()], name="given-up", source_id="s2")
    cancel_job(store.ledger, "given-up", actor="test")
    assert write_own_results_of_requests(store.ledger) == 1
    assert push() == 3
    told = {post.json["custom_id"]: post.json for post in receiver.received()}
    assert told["good"]["error"] is None
    assert told["bad"]["error"] or told["bad"]["response"]["status_code"] >= 400
    assert told["x"]["error"]["code"] == "obm_cancelled"


def test_a_slow_target_does_not_hold_up_a_fast_one(store: Store, receiver: WebReceiver) -> None:
    with WebReceiver() as slow:
        slow.set_behaviour("/", delays(1.5))
        answered(store, [webhook(slow), webhook(receiver)] * 40)
        assert push() == 80
        # Eight at a time, 1.5 s each: the slow one's last comes after all of the fast one's.
        last_fast = max(post.at for post in receiver.received())
        assert last_fast < max(post.at for post in slow.received())
    assert states(store) == {"delivered": 80}
