"""Publishing to a real broker: what it then holds, and what bursts, threads and closing do."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from publishing import PATIENCE_SECONDS, outcomes, outgoing, publish, several, to_queue

from batching.deliveries import Outcome
from batching.push_options import RabbitMQRoute
from clients.rabbitmq import Outgoing, RabbitMQPublisher, masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker import Broker


def test_a_confirmed_message_is_in_the_queue_with_its_properties(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    replies = publish(publisher, to_queue(queue), [outgoing("obm-1", b'{"a":1}', custom_id="ü")])
    [(properties, body)] = broker.take_all(queue)
    assert outcomes(replies) == [Outcome.SUCCESS]
    assert replies[0].excerpt is None
    assert body == b'{"a":1}'
    assert properties.delivery_mode == 2
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")
    assert (properties.message_id, properties.app_id) == ("obm-1", "openai-batch-manager")
    assert properties.headers["x-batcher-request-id"] == "request-of-obm-1"
    assert properties.headers["x-batcher-custom-id"] == "ü"
    assert properties.headers["idempotency-key"] == "obm-1"


def test_a_bundle_has_no_custom_id_and_says_that_it_is_ndjson(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    bundle = Outgoing(
        key="obm-b", body=b"{}\n{}\n", request_id="r", content_type="application/x-ndjson"
    )
    publish(publisher, to_queue(queue), [bundle])
    [(properties, body)] = broker.take_all(queue)
    assert properties.content_type == "application/x-ndjson"
    assert "x-batcher-custom-id" not in properties.headers
    assert body == b"{}\n{}\n"


def test_every_one_of_many_messages_is_stored_in_its_order(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(window=500)
    replies = publish(publisher, to_queue(queue), several(5_000))
    ids = [properties.message_id for properties, _ in broker.take_all(queue)]
    assert outcomes(replies) == [Outcome.SUCCESS] * 5_000
    assert ids == [f"obm-{number}" for number in range(5_000)]


def test_no_message_gets_no_reply_at_once(publisher: RabbitMQPublisher, queue: str) -> None:
    assert publisher.publish(to_queue(queue), []).result(0) == []


def test_a_window_of_one_is_enough(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    assert (
        outcomes(publish(publisher_of(window=1), to_queue(queue), several(20)))
        == [Outcome.SUCCESS] * 20
    )
    broker.await_count(queue, 20)


def test_a_body_of_ten_megabytes_arrives_whole(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    body = bytes(range(256)) * 40_000
    assert outcomes(publish(publisher, to_queue(queue), [outgoing("large", body)])) == [
        Outcome.SUCCESS
    ]
    assert [taken for _, taken in broker.take_all(queue)] == [body]


def test_an_empty_body_is_delivered(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    assert outcomes(publish(publisher, to_queue(queue), [outgoing("k", b"")])) == [Outcome.SUCCESS]
    assert [body for _, body in broker.take_all(queue)] == [b""]


def test_a_long_burst_does_not_hold_up_a_short_one(
    broker: Broker, publisher: RabbitMQPublisher, queue: str, name: str
) -> None:
    broker.declare_queue(f"{name}.short")
    long = publisher.publish(to_queue(queue), several(40_000))
    short = publisher.publish(to_queue(f"{name}.short"), several(10))
    short.result(PATIENCE_SECONDS)
    assert not long.done()
    assert outcomes(long.result(PATIENCE_SECONDS)) == [Outcome.SUCCESS] * 40_000
    broker.delete_queue(f"{name}.short")


def test_threads_publish_side_by_side(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    futures = []

    def work(number: int) -> None:
        for part in range(20):
            keys = [f"obm-{number}-{part}-{which}" for which in range(10)]
            futures.append(publisher.publish(to_queue(queue), [outgoing(key) for key in keys]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait(futures, PATIENCE_SECONDS)
    ids = {properties.message_id for properties, _ in broker.take_all(queue)}
    assert {reply.outcome for future in futures for reply in future.result(0)} == {Outcome.SUCCESS}
    assert len(ids) == 1_600


def test_it_tells_when_the_broker_answered_last(publisher: RabbitMQPublisher, queue: str) -> None:
    assert publisher.last_answer_at is None
    publish(publisher, to_queue(queue), several(1))
    assert publisher.last_answer_at is not None
    assert datetime.now(UTC) - publisher.last_answer_at < timedelta(minutes=1)
    assert not publisher.blocked


def test_more_exchanges_than_channels_stay_open_are_used_in_turn(
    broker: Broker,
    publisher: RabbitMQPublisher,
    queue: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clients.rabbitmq_sender.MOST_IDLE_LANES", 2)
    exchanges = [broker.declare_exchange(f"{name}.{n}", **{queue: "key"}) for n in range(4)]
    for exchange in exchanges * 2:
        route = RabbitMQRoute(exchange=exchange, routing_key="key")
        assert outcomes(publish(publisher, route, several(2))) == [Outcome.SUCCESS] * 2
    broker.await_count(queue, 16)
    channels = broker.ctl("list_channels", "pid", "number").strip().splitlines()
    for exchange in exchanges:
        broker.delete_exchange(exchange)
    assert len(channels) < 5


def test_after_closing_nothing_is_published(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of()
    publish(publisher, to_queue(queue), several(1))
    publisher.close()
    publisher.close()
    replies = publish(publisher, to_queue(queue), several(2))
    assert outcomes(replies) == [Outcome.CONNECTION_ERROR] * 2
    assert broker.count(queue) == 1


def test_closing_in_a_burst_answers_every_message(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str
) -> None:
    publisher = publisher_of(window=200)
    future = publisher.publish(to_queue(queue), several(50_000))
    broker.until(lambda: publisher.last_answer_at is not None)
    publisher.close()
    found = outcomes(future.result(0))
    assert set(found) <= {Outcome.SUCCESS, Outcome.CONNECTION_ERROR}
    assert found[-1] is Outcome.CONNECTION_ERROR
    broker.until(lambda: broker.count(queue) >= found.count(Outcome.SUCCESS))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:p%40ss@host:5672/vhost", "amqp://user:***@host:5672/vhost"),
        ("amqps://host/?ssl_options=%7B%27password%27%7D", "amqps://host/"),
        ("amqp://user@host", "amqp://user@host"),
        ("amqp://[half:secret@", "(unreadable URL)"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_faulty_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="cannot be read") as caught:
        RabbitMQPublisher("amqp://user:secret@host:port/")
    assert "secret" not in str(caught.value)
