"""What a real broker does not take: each message learns it, and the others are not held up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from publishing import CLASSIC, PATIENCE_SECONDS, outcomes, outgoing, publish, several, to_queue

from batching.deliveries import Outcome
from batching.push_options import RabbitMQRoute

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker import Broker

    from clients.rabbitmq import RabbitMQPublisher


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


def test_a_queue_that_is_deleted_in_a_burst_fails_what_comes_after(
    broker: Broker, publisher_of: Callable[..., RabbitMQPublisher], name: str
) -> None:
    broker.declare_queue(name)
    publisher = publisher_of(window=100)
    publish(publisher, to_queue(name), several(1))
    under_way = publisher.publish(to_queue(name), several(20_000))
    broker.delete_queue(name)
    found = outcomes(under_way.result(PATIENCE_SECONDS))
    # What the queue had taken and not confirmed when it went is nacked by the broker.
    assert set(found) <= {Outcome.SUCCESS, Outcome.QUEUE_NOT_FOUND, Outcome.REFUSED_BY_BROKER}
    assert found[-1] is Outcome.QUEUE_NOT_FOUND


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
