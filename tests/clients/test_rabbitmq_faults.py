"""A broker that is away, dies, hangs or blocks: nothing is lost, everybody gets an answer."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from running_commands import free_port

from batching.deliveries import Outcome, Reply
from batching.push_options import RabbitMQRoute
from clients.rabbitmq import Outgoing, RabbitMQPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from broker import Broker

PATIENCE_SECONDS = 60
SAFE_AGE_SECONDS = 2
"""A quorum queue that is killed right after its declaration is gone: no fault of publishers."""


def several(count: int) -> list[Outgoing]:
    return [
        Outgoing(key=f"obm-{number}", body=b"x" * 500, request_id=f"r{number}", custom_id="c")
        for number in range(count)
    ]


def to_queue(name: str) -> RabbitMQRoute:
    return RabbitMQRoute(exchange="", routing_key=name)


def outcomes(replies: Sequence[Reply]) -> set[Outcome]:
    return {reply.outcome for reply in replies}


@pytest.fixture
def publisher_of() -> Iterator[Callable[..., RabbitMQPublisher]]:
    made: list[RabbitMQPublisher] = []

    def make(url: str, **how: float) -> RabbitMQPublisher:
        made.append(RabbitMQPublisher(url, **how))  # type: ignore[arg-type] # window is an int
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()
        assert not publisher._thread.is_alive()


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.rabbitmq_sender.REACH_SECONDS", 0.8)


@pytest.fixture
def queue(broker: Broker) -> Iterator[str]:
    name = broker.declare_queue(f"obm.{uuid4().hex}")
    yield name
    broker.delete_queue(name)


@pytest.mark.usefixtures("impatience")
def test_a_broker_that_is_not_there_is_a_connection_error_in_bounded_time(
    publisher_of: Callable[..., RabbitMQPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_of(f"amqp://user:hidden-word@127.0.0.1:{free_port()}/")
    replies = publisher.publish(to_queue("q"), several(3)).result(PATIENCE_SECONDS)
    again = publisher.publish(to_queue("q"), several(1)).result(PATIENCE_SECONDS)
    assert outcomes(replies + again) == {Outcome.CONNECTION_ERROR}
    assert "refused" in str(replies[0].excerpt)
    assert "user:***@127.0.0.1" in str(replies[0].excerpt)
    assert "hidden-word" not in f"{replies} {caplog.text}"
    assert publisher.last_answer_at is None


def test_a_host_without_an_address_is_a_connection_error(
    publisher_of: Callable[..., RabbitMQPublisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.rabbitmq_sender.REACH_SECONDS", 0.1)
    publisher = publisher_of("amqp://guest:guest@broker.invalid/")
    replies = publisher.publish(to_queue("q"), several(1)).result(PATIENCE_SECONDS)
    assert outcomes(replies) == {Outcome.CONNECTION_ERROR}


def test_closing_while_it_connects_ends_at_once(
    publisher_of: Callable[..., RabbitMQPublisher],
) -> None:
    publisher = publisher_of(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    future = publisher.publish(to_queue("q"), several(3))
    publisher.close()
    assert outcomes(future.result(0)) == {Outcome.CONNECTION_ERROR}


def test_a_publisher_that_never_published_closes(
    publisher_of: Callable[..., RabbitMQPublisher],
) -> None:
    publisher_of("amqp://guest:guest@127.0.0.1:1/").close()


@pytest.mark.slow
def test_nothing_is_lost_when_the_broker_is_killed_in_a_burst(
    own_broker: Broker, publisher_of: Callable[..., RabbitMQPublisher]
) -> None:
    own_broker.declare_queue("results")
    time.sleep(SAFE_AGE_SECONDS)
    # A small window and much patience: on a busy machine the burst must outlast the first look.
    publisher = publisher_of(own_broker.url, window=100, answer_timeout_seconds=60)
    future = publisher.publish(to_queue("results"), several(60_000))
    own_broker.until(lambda: own_broker.count("results") > 1_000)
    own_broker.kill9()
    assert not future.done()
    own_broker.restart()
    replies = future.result(PATIENCE_SECONDS)
    stored = [properties.message_id for properties, _ in own_broker.take_all("results")]
    assert outcomes(replies) == {Outcome.SUCCESS}
    assert set(stored) == {f"obm-{number}" for number in range(60_000)}
    assert len(stored) <= 60_000 + 100  # only what was unconfirmed is sent again


@pytest.mark.slow
def test_a_broker_that_stays_away_fails_what_is_unconfirmed(
    own_broker: Broker, publisher_of: Callable[..., RabbitMQPublisher]
) -> None:
    own_broker.declare_queue("results")
    publisher = publisher_of(own_broker.url, window=50, answer_timeout_seconds=1)
    future = publisher.publish(to_queue("results"), several(60_000))
    own_broker.until(lambda: own_broker.count("results") > 100)
    own_broker.kill9()
    replies = future.result(PATIENCE_SECONDS)
    assert outcomes(replies) == {Outcome.SUCCESS, Outcome.CONNECTION_ERROR}
    assert replies[0].is_success
    assert "cannot be reached" in str(replies[-1].excerpt)


@pytest.mark.slow
@pytest.mark.usefixtures("impatience")
def test_a_broker_that_hangs_costs_nobody_more_than_the_timeout(
    own_broker: Broker, publisher_of: Callable[..., RabbitMQPublisher]
) -> None:
    own_broker.declare_queue("results")
    connected = publisher_of(own_broker.url, answer_timeout_seconds=1)
    assert outcomes(connected.publish(to_queue("results"), several(2)).result(10)) == {
        Outcome.SUCCESS
    }
    own_broker.pause()
    try:
        replies = connected.publish(to_queue("results"), several(20)).result(PATIENCE_SECONDS)
        connected.close()
        newcomer = publisher_of(own_broker.url, answer_timeout_seconds=1)
        unreached = newcomer.publish(to_queue("results"), several(2)).result(PATIENCE_SECONDS)
        newcomer.close()
        assert not connected._thread.is_alive()
        assert not newcomer._thread.is_alive()
    finally:
        own_broker.resume()
    assert outcomes(replies) == {Outcome.TIMEOUT}
    assert "did not confirm" in str(replies[0].excerpt)
    assert outcomes(unreached) == {Outcome.CONNECTION_ERROR}


@pytest.mark.slow
def test_a_hanging_broker_that_wakes_up_takes_messages_again(
    own_broker: Broker, publisher_of: Callable[..., RabbitMQPublisher]
) -> None:
    own_broker.declare_queue("results")
    publisher = publisher_of(own_broker.url, answer_timeout_seconds=1)
    publisher.publish(to_queue("results"), several(2)).result(10)
    own_broker.pause()
    late = publisher.publish(to_queue("results"), several(1)).result(PATIENCE_SECONDS)
    own_broker.resume()
    replies = publisher.publish(to_queue("results"), several(3)).result(PATIENCE_SECONDS)
    assert outcomes(late) == {Outcome.TIMEOUT}
    assert outcomes(replies) == {Outcome.SUCCESS}
    own_broker.await_count("results", 6)  # the late one as well: at least once


def test_connections_closed_by_an_operator_lose_nothing(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(broker.url, window=100)
    future = publisher.publish(to_queue(queue), several(40_000))
    broker.until(lambda: broker.count(queue) > 100)
    broker.ctl("close_all_connections", "an operator's reason")
    assert outcomes(future.result(PATIENCE_SECONDS)) == {Outcome.SUCCESS}
    stored = {properties.message_id for properties, _ in broker.take_all(queue)}
    assert stored == {f"obm-{number}" for number in range(40_000)}


def test_a_connection_that_is_lost_while_nothing_is_sent_is_made_again_when_needed(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(broker.url)
    publisher.publish(to_queue(queue), several(1)).result(10)
    broker.ctl("close_all_connections", "an operator's reason")
    broker.until(lambda: not publisher._sender.link.is_open)
    assert publisher._sender.link._timer is None  # it does not try while nobody needs it
    assert outcomes(publisher.publish(to_queue(queue), several(1)).result(10)) == {Outcome.SUCCESS}


def test_a_connection_that_is_idle_for_long_is_kept_by_heartbeats(
    broker: Broker,
    publisher_of: Callable[..., RabbitMQPublisher],
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clients.rabbitmq_addresses.HEARTBEAT_SECONDS", 1)
    publisher = publisher_of(broker.url)
    publisher.publish(to_queue(queue), several(1)).result(10)
    connection = publisher._sender.link._connection
    time.sleep(4)  # a broker gives up a silent client after three seconds
    assert connection.params.heartbeat == 1
    assert publisher._sender.link._connection is connection


def test_a_port_that_hangs_up_is_tried_a_few_times_with_growing_pauses(
    publisher_of: Callable[..., RabbitMQPublisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.rabbitmq_sender.REACH_SECONDS", 2.0)
    attempts: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                connection, _ = server.accept()
                connection.close()
                if attempts and attempts[-1] < 0:
                    return
                attempts.append(time.monotonic())

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = server.getsockname()[1]
        publisher = publisher_of(f"amqp://guest:guest@127.0.0.1:{port}/")
        replies = publisher.publish(to_queue("q"), several(2)).result(PATIENCE_SECONDS)
        made = len(attempts)
        attempts.append(-1)
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
    assert outcomes(replies) == {Outcome.CONNECTION_ERROR}
    assert 2 <= made <= 4


def test_a_publisher_can_be_closed_and_used_by_the_callback_of_a_future(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(broker.url)
    again: list[Future[list[Reply]]] = []

    def go_on(_: Future[list[Reply]]) -> None:
        again.append(publisher.publish(to_queue(queue), several(3)))

    publisher.publish(to_queue(queue), several(1)).add_done_callback(go_on)
    broker.until(lambda: len(again) == 1 and again[0].done())
    assert outcomes(again[0].result(0)) == {Outcome.SUCCESS}
    last = publisher.publish(to_queue(queue), several(1))
    last.add_done_callback(lambda _: publisher.close())
    broker.until(lambda: not publisher._thread.is_alive())


def test_a_broker_short_of_memory_is_waited_for(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(broker.url)
    publisher.publish(to_queue(queue), several(1)).result(10)
    with broker.memory_alarm():
        future = publisher.publish(to_queue(queue), several(100))
        broker.until(lambda: publisher.blocked)
        waiting = publisher.publish(to_queue(queue), several(50))
        assert not future.done()
    assert outcomes(future.result(PATIENCE_SECONDS)) == {Outcome.SUCCESS}
    assert outcomes(waiting.result(PATIENCE_SECONDS)) == {Outcome.SUCCESS}
    assert not publisher.blocked
    broker.await_count(queue, 151)


def test_a_broker_short_of_memory_for_too_long_is_a_timeout_that_says_why(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(broker.url, answer_timeout_seconds=1)
    publisher.publish(to_queue(queue), several(1)).result(10)
    with broker.memory_alarm():
        sent = publisher.publish(to_queue(queue), several(10))
        broker.until(lambda: publisher.blocked)
        waiting = publisher.publish(to_queue(queue), several(10))
        for future in (sent, waiting):
            replies = future.result(PATIENCE_SECONDS)
            assert outcomes(replies) == {Outcome.TIMEOUT}
            assert "short of memory or disk" in str(replies[0].excerpt)
    broker.until(lambda: not publisher.blocked)
    assert outcomes(publisher.publish(to_queue(queue), several(5)).result(10)) == {Outcome.SUCCESS}


def test_a_queue_that_never_confirms_times_out_and_does_not_hold_up_others(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    stuck = broker.declare_queue(f"{queue}.stuck")
    publisher = publisher_of(broker.url, window=10, answer_timeout_seconds=1)
    # The first message of a channel makes the broker itself wait for the queue.
    publisher.publish(to_queue(stuck), several(1)).result(10)
    broker.ctl("eval", f"sys:suspend(whereis('%2F_{stuck}')).")
    waiting = publisher.publish(to_queue(stuck), several(100))
    replies = publisher.publish(to_queue(queue), several(100)).result(PATIENCE_SECONDS)
    assert outcomes(replies) == {Outcome.SUCCESS}
    assert not waiting.done()
    assert outcomes(waiting.result(PATIENCE_SECONDS)) == {Outcome.TIMEOUT}
    broker.ctl("eval", f"sys:resume(whereis('%2F_{stuck}')).")
    broker.delete_queue(stuck)


def test_a_fault_in_the_publishing_thread_answers_everybody_and_is_survived(
    broker: Broker,
    publisher_of: Callable[..., RabbitMQPublisher],
    queue: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher = publisher_of(broker.url, window=10)
    future = publisher.publish(to_queue(queue), several(20_000))
    broker.until(lambda: publisher.last_answer_at is not None)
    publisher._loop.add_callback_threadsafe(lambda: 1 / 0)
    found = outcomes(future.result(PATIENCE_SECONDS))
    assert Outcome.CONNECTION_ERROR in found
    assert "starts over" in caplog.text
    assert outcomes(publisher.publish(to_queue(queue), several(5)).result(10)) == {Outcome.SUCCESS}
