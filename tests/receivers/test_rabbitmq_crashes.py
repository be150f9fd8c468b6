"""`obm consume` killed, its broker killed, its disk full: nothing acknowledged is ever missing."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from consumers import PATIENCE_SECONDS, filled_disk, line_of, publish_many, repeated, until
from file_handles import no_more_handles

from storage.intake_log import seal_abandoned_logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker import Broker
    from consumers import ConsumerProcess

PREFETCH = 1_000
DIES_BEFORE_IT_ANSWERS = """
import os, signal
from deployments.consumer import run_consumer
from receivers.rabbitmq_storing import Group

Group.answer = lambda self, channel: os.kill(os.getpid(), signal.SIGKILL)
run_consumer()
"""
SAFE_AGE_SECONDS = 2
"""A quorum queue that is killed right after its declaration is gone: no fault of consumers."""


def ids(count: int, prefix: str = "r") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.slow
def test_thirty_thousand_good_and_bad_messages_end_exactly_where_they_belong(
    broker: Broker, queue: str, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    count = 30_000
    bodies = [line_of(f"r{n}") if n % 10 else b'{"bad":%d}' % n for n in range(count)]
    consumer = consumer_of(RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue)
    consumer.start()
    publish_many(broker, queue, bodies)
    until(lambda: len(consumer.received) + len(consumer.refused) >= count)
    broker.await_count(queue, 0)
    broker.await_count(f"{queue}.dead", count // 10)
    assert consumer.stop() == 0
    assert sorted(consumer.received_ids) == sorted(f"r{n}" for n in range(count) if n % 10)
    expected = sorted(f'{{"bad":{n}}}' for n in range(0, count, 10))
    assert sorted(record["raw"] for record in consumer.refused) == expected
    assert broker.count(queue) == 0
    assert consumer.said.count("Messages were refused") < 10


@pytest.mark.slow
def test_a_consumer_killed_at_random_moments_loses_nothing(
    broker: Broker, queue: str, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    chance = random.Random(20_261)  # noqa: S311 - no secret
    count, kills = 60_000, 25
    expected = ids(count)
    publisher = threading.Thread(
        target=publish_many, args=(broker, queue, [line_of(name) for name in expected])
    )
    consumer = consumer_of(RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue)
    publisher.start()
    for _ in range(kills):
        target = consumer.received_bytes + chance.randrange(1, 1_500) * len(line_of("r12345"))
        consumer.start()
        until(lambda target=target: consumer.received_bytes >= target)  # type: ignore[misc] # bound now
        time.sleep(chance.random() * 0.02)
        consumer.kill9()
    publisher.join(PATIENCE_SECONDS)
    consumer.start()
    broker.await_count(queue, 0, timeout_seconds=PATIENCE_SECONDS)
    until(lambda: len(set(consumer.received_ids)) >= count)
    assert consumer.stop() == 0
    received = consumer.received_ids
    assert set(received) == set(expected)
    assert len(received) - count <= kills * PREFETCH  # only what was delivered, not acknowledged
    assert seal_abandoned_logs(consumer.directory) == 0  # the last start has handed them over


def test_what_was_written_and_not_acknowledged_comes_again_and_nothing_else(
    broker: Broker, queue: str, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    consumer = consumer_of(RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue)
    broker.publish(queue, *map(line_of, ids(50, "first")))
    consumer.start()
    consumer.await_ids(ids(50, "first"))
    assert consumer.stop() == 0
    broker.publish(queue, *map(line_of, ids(20)), b"[]")
    consumer.start([sys.executable, "-c", DIES_BEFORE_IT_ANSWERS])
    assert consumer.await_end() == -signal.SIGKILL
    written = Counter(consumer.received_ids)[ids(1)[0]]
    consumer.start()
    broker.await_count(queue, 0)
    broker.await_count(f"{queue}.dead", 1)
    assert consumer.stop() == 0
    times = Counter(consumer.received_ids)
    assert set(times) == {*ids(50, "first"), *ids(20)}
    assert written == 1
    assert times["r0"] == 2
    assert {times[name] for name in ids(50, "first")} == {1}
    assert {times[name] for name in ids(20)} <= {1, 2}


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back_is_used_again_and_nothing_is_lost(
    own_broker: Broker, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    queue = own_broker.declare_queue("requests")
    count = 20_000
    publish_many(own_broker, queue, [line_of(name) for name in ids(count)])
    time.sleep(SAFE_AGE_SECONDS)
    consumer = consumer_of(RABBITMQ_URL=own_broker.url, RABBITMQ_INPUT_QUEUE=queue)
    consumer.start()
    until(lambda: len(consumer.received) > 1_000)
    own_broker.kill9()
    consumer.await_state("disconnected")
    own_broker.restart()
    consumer.await_state("running")
    own_broker.await_count(queue, 0)
    own_broker.publish(queue, line_of("afterwards"))
    until(lambda: "afterwards" in consumer.received_ids)
    assert consumer.is_alive
    assert consumer.stop() == 0
    assert set(consumer.received_ids) == {*ids(count), "afterwards"}


@pytest.mark.slow
def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_space(
    broker: Broker, queue: str, small_disk: Path, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    consumer = consumer_of(
        root=small_disk / "data", RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue
    )
    consumer.start()
    broker.publish(queue, line_of("before"))
    consumer.await_ids(["before"])
    with filled_disk(small_disk):
        publish_many(broker, queue, [line_of(name) for name in ids(3_000)] + [b"[]"])
        until(lambda: "cannot be stored" in consumer.said)
        time.sleep(2.5)  # several tries
        assert consumer.received_ids == ["before"]
        assert consumer.refused == []
        assert consumer.is_alive
        # The broker counts what is not acknowledged, too, and renews the figure seldom.
        listing = ("list_queues", "name", "messages", "--no-table-headers")
        until(lambda: f"{queue}\t3001" in broker.ctl(*listing))
        assert consumer.said.count("cannot be stored") == 1
    until(lambda: len(consumer.received) >= 3_001)
    broker.await_count(queue, 0)
    broker.await_count(f"{queue}.dead", 1)
    consumer.await_state("running")
    assert consumer.stop() == 0
    assert sorted(consumer.received_ids) == sorted(["before", *ids(3_000)])
    assert [record["raw"] for record in consumer.refused] == ["[]"]


def test_without_file_handles_nothing_is_acknowledged_that_is_not_kept(
    broker: Broker, queue: str, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    consumer = consumer_of(
        RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue, OBM_SEAL_SECONDS=0.2
    )
    consumer.start()
    consumer.await_state("running")
    sent: list[str] = []

    def is_refused() -> bool:
        sent.append(f"sent-{len(sent)}")
        broker.publish(queue, line_of(sent[-1]))
        return "cannot be stored" in consumer.said

    with no_more_handles(consumer.pid):
        until(is_refused)  # the open log takes messages until it is handed over
    consumer.await_ids(sent)
    broker.await_count(queue, 0)
    assert consumer.stop() == 0
    assert "Too many open files" in consumer.said


def test_a_full_disk_does_not_bring_messages_nearer_to_their_delivery_limit(
    broker: Broker, small_disk: Path, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    broker.declare_queue("limited.dead")
    arguments = {
        "x-queue-type": "quorum", "x-delivery-limit": 1,
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "limited.dead",
    }  # fmt: skip
    queue = broker.declare_queue("limited", arguments)
    consumer = consumer_of(
        root=small_disk / "data", RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue
    )
    consumer.start()
    consumer.await_state("running")
    with filled_disk(small_disk):
        broker.publish(queue, *map(line_of, ids(20)))
        until(lambda: "cannot be stored" in consumer.said)
        time.sleep(3)  # several tries
    consumer.await_ids(ids(20))
    assert consumer.stop() == 0
    assert broker.count("limited.dead") == 0
    broker.delete_queue(queue)
    broker.delete_queue("limited.dead")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_ends_in_good_order(
    broker: Broker, queue: str, number: signal.Signals, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    count = 20_000
    publish_many(broker, queue, [line_of(name) for name in ids(count)])
    consumer = consumer_of(RABBITMQ_URL=broker.url, RABBITMQ_INPUT_QUEUE=queue)
    consumer.start()
    until(lambda: len(consumer.received) > 1_000)
    assert consumer.stop(number) == 0
    assert list(consumer.directory.receiving.iterdir()) == []
    assert consumer.state == "stopped"
    taken = consumer.received_ids
    assert repeated(taken) == set()
    broker.await_count(queue, count - len(taken))


@pytest.mark.slow
def test_a_broker_that_hangs_does_not_keep_a_stopping_consumer(
    own_broker: Broker, consumer_of: Callable[..., ConsumerProcess]
) -> None:
    queue = own_broker.declare_queue("requests")
    own_broker.publish(queue, line_of("a"))
    consumer = consumer_of(RABBITMQ_URL=own_broker.url, RABBITMQ_INPUT_QUEUE=queue)
    consumer.start()
    consumer.await_ids(["a"])
    own_broker.pause()
    try:
        assert consumer.stop() == 0
    finally:
        own_broker.resume()
    assert [path.suffix for path in consumer.directory.inbox.iterdir()] == [".obmlog"]
