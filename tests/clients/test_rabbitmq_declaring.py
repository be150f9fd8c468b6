"""Queues are declared where that is asked for, and nothing of anybody else is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publishing import CLASSIC, outcomes, publish, several, to_queue

from batching.deliveries import Outcome
from batching.push_options import RabbitMQRoute

if TYPE_CHECKING:
    from broker import Broker

    from clients.rabbitmq import RabbitMQPublisher


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
