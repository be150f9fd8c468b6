"""Publishing to a real broker: what becomes of each message, and what the broker then holds."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from batching.deliveries import Outcome, Reply
from batching.push_options import RabbitMQRoute
from clients.rabbitmq import Outgoing, RabbitMQPublisher, masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker import Broker

CLASSIC = {"x-queue-type": "classic"}
PATIENCE_SECONDS = 30


def outgoing(key: str, body: bytes = b"{}", *, custom_id: str | None = "c") -> Outgoing:
    return Outgoing(key=key, body=body, request_id=f"request-of-{key}", custom_id=custom_id)


def several(count: int, body: bytes = b"{}") -> list[Outgoing]:
    return [outgoing(f"obm-{number}", body) for number in range(count)]


def to_queue(name: str, *, declare: bool = False) -> RabbitMQRoute:
    return RabbitMQRoute(exchange="", routing_key=name, declare=declare)


def outcomes(replies: Sequence[Reply]) -> list[Outcome]:
    return [reply.outcome for reply in replies]


@pytest.fixture
def name() -> str:
    return f"obm.{uuid4().hex}"


@pytest.fixture
def queue(broker: Broker, name: str) -> Iterator[str]:
    yield broker.declare_queue(name)
    broker.delete_queue(name)


@pytest.fixture
def publisher_of(broker: Broker) -> Iterator[Callable[..., RabbitMQPublisher]]:
    made: list[RabbitMQPublisher] = []

    def make(url: str | None = None, **how: float) -> RabbitMQPublisher:
        made.append(RabbitMQPublisher(url or broker.url, **how))  # type: ignore[arg-type] # window
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()


@pytest.fixture
def publisher(publisher_of: Callable[..., RabbitMQPublisher]) -> RabbitMQPublisher:
    return publisher_of()


def publish(
    publisher: RabbitMQPublisher, route: RabbitMQRoute, messages: Sequence[Outgoing]
) -> list[Reply]:
    return publisher.publish(route, messages).result(PATIENCE_SECONDS)


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


def test_a_message_that_no_queue_takes_failed_although_it_was_acknowledged(
    publisher: RabbitMQPublisher, name: str
) -> None:
    replies = publish(publisher, to_queue(name), several(3))
    assert outcomes(replies) == [Outcome.QUEUE_NOT_FOUND] * 3
    assert all("NO_ROUTE" in str(reply.excerpt) for reply in replies)


def test_an_exchange_without_a_matching_binding_is_no_success(
    broker: Broker, publisher: RabbitMQPublisher, queue: str, name: str
) -> None:
    exchange = broker.declare_exchange(f"{name}.x", **{queue: "bound"})
    matching = publish(publisher, RabbitMQRoute(exchange=exchange, routing_key="bound"), several(2))
    other = publish(publisher, RabbitMQRoute(exchange=exchange, routing_key="other"), several(2))
    broker.await_count(queue, 2)
    broker.delete_exchange(exchange)
    assert outcomes(matching) == [Outcome.SUCCESS] * 2
    assert outcomes(other) == [Outcome.QUEUE_NOT_FOUND] * 2


def test_the_same_id_to_a_queue_that_exists_and_one_that_does_not_is_told_apart(
    publisher: RabbitMQPublisher, queue: str
) -> None:
    there = publisher.publish(to_queue(queue), several(200))
    not_there = publisher.publish(to_queue(f"{queue}.absent"), several(200))
    assert outcomes(there.result(PATIENCE_SECONDS)) == [Outcome.SUCCESS] * 200
    assert outcomes(not_there.result(PATIENCE_SECONDS)) == [Outcome.QUEUE_NOT_FOUND] * 200


def test_one_id_published_twice_to_a_missing_queue_fails_twice(
    publisher: RabbitMQPublisher, name: str
) -> None:
    replies = publish(publisher, to_queue(name), [outgoing("same"), outgoing("same")])
    assert outcomes(replies) == [Outcome.QUEUE_NOT_FOUND] * 2


def test_a_message_that_came_back_is_delivered_once_its_queue_is_there(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    first = publish(publisher, to_queue(name), several(1))
    broker.declare_queue(name)
    second = publish(publisher, to_queue(name), several(1))
    broker.await_count(name, 1)
    broker.delete_queue(name)
    assert outcomes(first + second) == [Outcome.QUEUE_NOT_FOUND, Outcome.SUCCESS]


def test_a_missing_exchange_fails_its_own_messages_only(
    broker: Broker, publisher: RabbitMQPublisher, queue: str, name: str
) -> None:
    exchange = broker.declare_exchange(f"{name}.x", **{queue: "key"})
    missing = RabbitMQRoute(exchange=f"{name}.absent", routing_key="key")
    good = [
        publisher.publish(RabbitMQRoute(exchange=exchange, routing_key="key"), several(2_000)),
        publisher.publish(to_queue(queue), several(2_000)),
    ]
    bad = [publisher.publish(missing, several(10)) for _ in range(5)]
    for future in bad:
        replies = future.result(PATIENCE_SECONDS)
        assert outcomes(replies) == [Outcome.EXCHANGE_NOT_FOUND] * 10
        assert "no exchange" in str(replies[0].excerpt)
    for future in good:
        assert outcomes(future.result(PATIENCE_SECONDS)) == [Outcome.SUCCESS] * 2_000
    broker.await_count(queue, 4_000)
    broker.delete_exchange(exchange)


def test_an_exchange_that_vanishes_under_a_full_window_fails_what_is_unconfirmed(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str, name: str
) -> None:
    publisher = publisher_of(window=100)
    exchange = broker.declare_exchange(f"{name}.x", **{queue: "key"})
    route = RabbitMQRoute(exchange=exchange, routing_key="key")
    publish(publisher, route, several(1))
    under_way = publisher.publish(route, several(20_000))
    broker.delete_exchange(exchange)
    found = outcomes(under_way.result(PATIENCE_SECONDS))
    assert found[-1] is Outcome.EXCHANGE_NOT_FOUND
    # The broker removes the bindings first: what comes in between finds an exchange with no way on.
    assert set(found) <= {Outcome.EXCHANGE_NOT_FOUND, Outcome.QUEUE_NOT_FOUND, Outcome.SUCCESS}
    assert broker.count(queue) > found.count(Outcome.SUCCESS) - 1

    broker.declare_exchange(exchange, **{queue: "key"})
    assert outcomes(publish(publisher, route, several(5))) == [Outcome.SUCCESS] * 5
    broker.delete_exchange(exchange)


def test_a_full_queue_refuses_what_it_does_not_take(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    full = {**CLASSIC, "x-max-length": 3, "x-overflow": "reject-publish"}
    broker.declare_queue(name, full)
    replies = publish(publisher, to_queue(name), several(10))
    refused = [reply for reply in replies if reply.outcome is Outcome.REFUSED_BY_BROKER]
    broker.delete_queue(name)
    assert set(outcomes(replies)) == {Outcome.SUCCESS, Outcome.REFUSED_BY_BROKER}
    assert "full queue" in str(refused[0].excerpt)


def test_a_queue_is_declared_durable_and_quorum_where_that_is_asked_for(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    replies = publish(publisher, to_queue(name, declare=True), several(5))
    listed = broker.ctl("list_queues", "name", "type", "durable", "--formatter", "csv")
    broker.await_count(name, 5)
    broker.delete_queue(name)
    assert outcomes(replies) == [Outcome.SUCCESS] * 5
    assert f'"{name}","quorum","true"' in listed


def test_a_queue_that_exists_with_other_arguments_is_left_as_it_is(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    broker.declare_queue(name, CLASSIC)
    replies = publish(publisher, to_queue(name, declare=True), several(5))
    broker.await_count(name, 5)
    broker.declare_queue(name, CLASSIC)  # it would be refused if the queue were another one
    broker.delete_queue(name)
    assert outcomes(replies) == [Outcome.SUCCESS] * 5


def test_a_declared_queue_that_is_deleted_is_declared_again(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    route = to_queue(name, declare=True)
    publish(publisher, route, several(1))
    broker.delete_queue(name)
    assert outcomes(publish(publisher, route, several(1))) == [Outcome.QUEUE_NOT_FOUND]
    assert outcomes(publish(publisher, route, several(1))) == [Outcome.SUCCESS]
    broker.delete_queue(name)


def test_no_queue_is_declared_over_a_named_exchange(
    broker: Broker, publisher: RabbitMQPublisher, name: str
) -> None:
    route = RabbitMQRoute(exchange="amq.direct", routing_key=name, declare=True)
    assert outcomes(publish(publisher, route, several(1))) == [Outcome.QUEUE_NOT_FOUND]
    assert name not in broker.ctl("list_queues", "name")


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


def test_a_message_that_cannot_be_written_fails_alone(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    messages = [outgoing("a"), outgoing("k" * 300), outgoing("b", custom_id="c" * 200_000)]
    replies = publish(publisher, to_queue(queue), [*messages, outgoing("d")])
    assert outcomes(replies) == [Outcome.SUCCESS, Outcome.OTHER, Outcome.OTHER, Outcome.SUCCESS]
    assert "255 bytes" in str(replies[1].excerpt)
    broker.await_count(queue, 2)


def test_a_message_that_is_too_large_for_the_broker_fails_alone(
    broker: Broker, publisher: RabbitMQPublisher, queue: str
) -> None:
    broker.ctl("eval", "application:set_env(rabbit, max_message_size, 100000).")
    try:
        messages = several(300)
        messages[150] = outgoing("large", b"x" * 200_000)
        replies = publish(publisher, to_queue(queue), messages)
    finally:
        broker.ctl("eval", "application:set_env(rabbit, max_message_size, 134217728).")
    ids = {properties.message_id for properties, _ in broker.take_all(queue)}
    assert outcomes(replies) == [
        Outcome.OTHER if number == 150 else Outcome.SUCCESS for number in range(300)
    ]
    assert "larger than configured max size" in str(replies[150].excerpt)
    assert ids == {message.key for message in messages if message.key != "large"}


@pytest.mark.parametrize(
    ("route", "outcome"),
    [
        (RabbitMQRoute(exchange="e" * 256, routing_key="k"), Outcome.EXCHANGE_NOT_FOUND),
        (RabbitMQRoute(exchange="", routing_key="k" * 256), Outcome.QUEUE_NOT_FOUND),
    ],
)
def test_a_name_that_nothing_can_have_is_not_found(
    publisher: RabbitMQPublisher, route: RabbitMQRoute, outcome: Outcome
) -> None:
    assert outcomes(publish(publisher, route, several(2))) == [outcome] * 2


@pytest.mark.parametrize(("password", "vhost"), [("wrong-password", "%2F"), ("guest", "absent")])
def test_a_login_that_is_refused_is_an_authorization_error(
    broker: Broker,
    publisher_of: Callable[..., RabbitMQPublisher],
    caplog: pytest.LogCaptureFixture,
    password: str,
    vhost: str,
) -> None:
    publisher = publisher_of(broker.url_of("guest", password, vhost))
    replies = publish(publisher, to_queue("q"), several(3))
    assert outcomes(replies) == [Outcome.AUTHORIZATION_ERROR] * 3
    assert replies[0].excerpt
    assert "wrong-password" not in f"{replies} {caplog.text}"


def test_an_exchange_or_a_queue_that_the_user_may_not_touch_is_an_authorization_error(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], queue: str, name: str
) -> None:
    user = f"writer-{name}"
    url = broker.add_user(user, "secret", configure="^$", write="^amq\\.default$", read=".*")
    publisher = publisher_of(url)
    forbidden = RabbitMQRoute(exchange="amq.direct", routing_key="k")
    futures = [
        publisher.publish(forbidden, several(3)),
        publisher.publish(to_queue(f"{name}.new", declare=True), several(3)),
        publisher.publish(to_queue(queue), several(3)),
    ]
    found = [outcomes(future.result(PATIENCE_SECONDS)) for future in futures]
    publisher.close()
    broker.ctl("delete_user", user)
    assert found[0] == [Outcome.AUTHORIZATION_ERROR] * 3
    assert found[1] == [Outcome.AUTHORIZATION_ERROR] * 3
    assert found[2] == [Outcome.SUCCESS] * 3


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
