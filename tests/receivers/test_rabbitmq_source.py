"""Which settings make a source, and which are refused with a sentence."""

import subprocess
import sys
from typing import Any

import pytest

from batching.errors import ConfigurationError
from batching.settings import Settings
from receivers.rabbitmq_source import Source, is_wanted, own_queue_name

URL = "amqp://guest:guest@127.0.0.1:5672/"


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, rabbitmq_url=URL, **values)


def test_a_queue_is_taken_as_it_is() -> None:
    source = Source.of(settings(rabbitmq_input_queue="requests"))
    assert (source.queue, source.exchange, source.is_declared) == ("requests", None, False)


def test_a_queue_is_declared_on_request() -> None:
    source = Source.of(settings(rabbitmq_input_queue="requests", rabbitmq_declare=True))
    assert source.is_declared


def test_an_exchange_and_a_routing_key_make_a_queue_of_our_own() -> None:
    source = Source.of(
        settings(rabbitmq_input_exchange="orders", rabbitmq_input_routing_key="new.#")
    )
    assert source.queue == "obm.intake.orders.new.#"
    assert (source.exchange, source.routing_key, source.is_declared) == ("orders", "new.#", True)


def test_an_empty_routing_key_is_one() -> None:
    source = Source.of(settings(rabbitmq_input_exchange="all", rabbitmq_input_routing_key=""))
    assert (source.queue, source.routing_key) == ("obm.intake.all.", "")


def test_a_queue_name_that_would_be_too_long_is_shortened_and_stays_its_own() -> None:
    names = {own_queue_name("e" * 200, "k" * length) for length in range(100, 110)}
    assert len(names) == 10
    assert max(len(name) for name in names) <= 255
    assert all(name.startswith("obm.intake.") for name in names)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "nothing says where requests are taken from"),
        ({"rabbitmq_input_queue": "q", "rabbitmq_input_exchange": "e"}, "both set"),
        ({"rabbitmq_input_exchange": "e"}, "RABBITMQ_INPUT_ROUTING_KEY is not set"),
        ({"rabbitmq_input_routing_key": "k"}, "RABBITMQ_INPUT_EXCHANGE, which is not set"),
        ({"rabbitmq_input_queue": "ä" * 128}, "longer than 255 bytes"),
        ({"rabbitmq_input_queue": "q", "rabbitmq_url": None}, "RABBITMQ_URL is not set"),
        ({"rabbitmq_input_queue": "q", "rabbitmq_url": " "}, "RABBITMQ_URL is not set"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Source.of(Settings(_env_file=None, **{"rabbitmq_url": URL, **values}))


def test_a_broker_alone_does_not_ask_for_a_consumer() -> None:
    assert not is_wanted(settings())
    assert not is_wanted(settings(rabbitmq_input_queue="", rabbitmq_input_exchange=""))
    assert is_wanted(settings(rabbitmq_input_queue="q"))
    assert is_wanted(settings(rabbitmq_input_exchange="e"))


def test_looking_at_the_settings_does_not_load_the_client_of_the_broker() -> None:
    program = "import sys, receivers.rabbitmq_source; print('pika' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert finished.stdout.strip() == "False"
