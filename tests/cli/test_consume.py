"""`obm consume`: what it needs, what it says without it, how it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Obm
from consumers import ConsumerProcess, until
from running_commands import free_port

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.roles import consumer_roles
from storage.directory import DataDirectory

BROKER = "amqp://guest:hidden-word@127.0.0.1:5672/"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "RABBITMQ_URL is not set"),
        ({"RABBITMQ_URL": BROKER}, "nothing says where requests are taken from"),
        ({"RABBITMQ_INPUT_QUEUE": "q"}, "RABBITMQ_URL is not set"),
        (
            {"RABBITMQ_URL": BROKER, "RABBITMQ_INPUT_QUEUE": "q", "RABBITMQ_INPUT_EXCHANGE": "e"},
            "both set",
        ),
        ({"RABBITMQ_URL": BROKER, "RABBITMQ_INPUT_EXCHANGE": "e"}, "ROUTING_KEY is not set"),
        (
            {"RABBITMQ_URL": "amqp://guest:hidden-word@host:port/", "RABBITMQ_INPUT_QUEUE": "q"},
            "RABBITMQ_URL: the broker's URL cannot be read",
        ),
        (
            {"RABBITMQ_URL": BROKER, "RABBITMQ_INPUT_QUEUE": "q", "OBM_LOG_LEVEL": "LOUD"},
            "OBM_LOG_LEVEL is 'LOUD'",
        ),
        (
            {"RABBITMQ_URL": BROKER, "RABBITMQ_INPUT_QUEUE": "q", "OBM_DESTINATIONS": "away.toml"},
            "OBM_DESTINATIONS names",
        ),
    ],
)
def test_what_must_be_set_first_is_said_in_a_sentence(
    obm: Obm, environment: dict[str, str], words: str
) -> None:
    said = obm("consume", **environment)
    assert said.code == 2
    assert words in said.err
    assert "hidden-word" not in said.err


def test_it_needs_no_key_and_waits_for_a_broker_and_ends_with_success(tmp_path: Path) -> None:
    consumer = ConsumerProcess(
        tmp_path / "data",
        tmp_path / "consumer.txt",
        RABBITMQ_URL=f"amqp://guest:hidden-word@127.0.0.1:{free_port()}/",
        RABBITMQ_INPUT_QUEUE="q",
    )
    consumer.start()
    try:
        until(lambda: consumer.state == "disconnected")
        assert consumer.stop(signal.SIGINT) == 0
    finally:
        consumer.end()
    assert consumer.state == "stopped"
    assert "guest:***@127.0.0.1" in consumer.said
    assert "hidden-word" not in consumer.said
    assert "Traceback" not in consumer.said


def test_it_imports_neither_prefect_nor_the_database() -> None:
    program = (
        "import sys, deployments.consumer; "
        "print(sorted({'prefect', 'duckdb', 'polars', 'openai', 'pyarrow'} & sys.modules.keys()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert finished.stdout.strip() == "[]"


def test_up_has_a_consumer_only_when_something_is_to_be_consumed(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    settings = Settings(_env_file=None, rabbitmq_url=BROKER)
    assert consumer_roles(directory, settings) == ()
    (role,) = consumer_roles(directory, settings.model_copy(update={"rabbitmq_input_queue": "q"}))
    assert role.name == "consumer"
    assert not role.ready_when()


def test_up_says_at_once_what_is_wrong_with_the_source(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, rabbitmq_input_queue="q")
    with pytest.raises(ConfigurationError, match="RABBITMQ_URL is not set"):
        consumer_roles(DataDirectory(tmp_path), settings)


def test_up_does_not_wait_for_a_broker_that_is_away(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        rabbitmq_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/",
        rabbitmq_input_queue="q",
    )
    (role,) = consumer_roles(DataDirectory(tmp_path / "data"), settings)
    consumer = ConsumerProcess(
        tmp_path / "data",
        tmp_path / "consumer.txt",
        RABBITMQ_URL=settings.rabbitmq_url.get_secret_value() if settings.rabbitmq_url else "",
        RABBITMQ_INPUT_QUEUE="q",
    )
    consumer.start(role.argv)
    try:
        until(role.ready_when)
        assert consumer.stop() == 0
    finally:
        consumer.end()
