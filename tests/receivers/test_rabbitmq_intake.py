"""Requests from a real broker: what is taken, what is refused, what interrupts it and ends well."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers import PATIENCE_SECONDS, line_of, publish_many, running_intake, until
from running_commands import free_port

from receivers.rabbitmq_topology import DEAD_LETTERS
from storage.intake_gate import pause_intake, resume_intake

if TYPE_CHECKING:
    import pytest
    from broker import Broker

    from storage.directory import DataDirectory

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FAST = {"seal_seconds": 0.2}


def ids(count: int, prefix: str = "r") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_requests_are_taken_and_acknowledged(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    broker.publish(queue, *map(line_of, ids(3)))
    broker.publish(queue, line_of("labelled"), headers={"x-obm-job": "reviews"})
    with running_intake(
        directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue, **FAST
    ) as intake:
        intake.await_ids([*ids(3), "labelled"])
        intake.await_state("running")
        broker.await_count(queue, 0)
        assert {line.job for line in intake.received} == {"default", "reviews"}
        until(lambda: len(list(directory.inbox.glob("consumer-*.obmlog"))) > 0)
    assert intake.state == "stopped"
    assert intake.refused == []
    assert broker.count(queue) == 0
    assert broker.count(f"{queue}.dead") == 0


def test_an_empty_queue_costs_nothing_and_what_comes_later_is_taken_at_once(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("running")
        assert intake.received == []
        assert list(directory.receiving.iterdir()) == []
        broker.publish(queue, line_of("late"))
        intake.await_ids(["late"])


def test_a_quiet_broker_is_asked_now_and_then_whether_it_is_there(
    broker: Broker, queue: str, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.health import read_health  # noqa: PLC0415 - this test alone looks at answers

    monkeypatch.setattr("receivers.rabbitmq_consuming._ASK_SECONDS", 0.0)
    monkeypatch.setattr("storage.health._REWRITE_SECONDS", 0.1)

    def answered_at() -> float:
        health = read_health(directory.health, "consumer")
        assert health is not None
        return health.last_answers["rabbitmq"].timestamp()

    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("running")
        first = answered_at()
        until(lambda: answered_at() > first)


def test_bad_messages_are_on_record_and_dead_lettered_and_do_not_come_back(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    bad = [
        b"[]", b"{", b"\xff", line_of("b").replace(b"POST", b"GET"), b"x" * 3_000, b"1", b'"x"',
        line_of("c").replace(b'"body":{', b'"body":{"stream":true,'),
        line_of("d")[:-1] + b',"delivery_config":{"type":"named","name":"nobody"}}',
    ]  # fmt: skip
    bodies = [line_of("good-0"), *bad, line_of("good-1"), b"null"]
    broker.publish(queue, *bodies, message_id="m-7")
    with running_intake(
        directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue, max_request_bytes=2_500
    ) as intake:
        intake.await_ids(["good-0", "good-1"])
        broker.await_count(f"{queue}.dead", len(bad) + 1)
        time.sleep(0.5)  # long enough for a loop to show
        assert [record["code"] for record in intake.refused] == [
            "not_an_object", "not_json", "invalid_utf8", "invalid_method", "line_too_large",
            "not_an_object", "not_an_object", "stream_not_allowed", "destination_not_available",
            "not_an_object",
        ]  # fmt: skip
        assert {record["queue"] for record in intake.refused} == {queue}
        assert {record["message_id"] for record in intake.refused} == {"m-7"}
        assert broker.count(queue) == 0
    dead = [body for _, body in broker.take_all(f"{queue}.dead")]
    assert sorted(dead) == sorted([*bad, b"null"])


def test_a_queue_without_dead_letters_loses_nothing_that_is_refused(
    broker: Broker, directory: DataDirectory
) -> None:
    queue = broker.declare_queue(f"plain.{uuid4().hex}", {"x-queue-type": "classic"})
    broker.publish(queue, b"[1]", line_of("good"), b"[2]")
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        intake.await_ids(["good"])
        broker.await_count(queue, 0)
    assert [record["raw"] for record in intake.refused] == ["[1]", "[2]"]
    broker.delete_queue(queue)


def test_an_exchange_is_bound_to_a_queue_of_our_own_with_dead_letters(
    broker: Broker, directory: DataDirectory
) -> None:
    exchange = broker.declare_exchange(f"orders.{uuid4().hex}", "topic")
    with running_intake(
        directory,
        rabbitmq_url=broker.url,
        rabbitmq_input_exchange=exchange,
        rabbitmq_input_routing_key="new.*",
    ) as intake:
        intake.await_state("running")
        with broker.channel() as channel:
            channel.confirm_delivery()
            channel.basic_publish(exchange, "new.blue", line_of("bound"), mandatory=True)
            channel.basic_publish(exchange, "old.blue", line_of("not bound"))
            channel.basic_publish(exchange, "new.red", b"[]", mandatory=True)
        intake.await_ids(["bound"])
        broker.await_count(DEAD_LETTERS, 1)
        assert intake.refused[0]["routing_key"] == "new.red"
        assert intake.refused[0]["exchange"] == exchange
    own = f"obm.intake.{exchange}.new.*"
    # While nobody consumes, the queue goes on collecting.
    with broker.channel() as channel:
        channel.confirm_delivery()
        channel.basic_publish(exchange, "new.blue", line_of("kept"), mandatory=True)
    broker.await_count(own, 1)
    assert len(broker.take_all(DEAD_LETTERS)) == 1
    for name in (own, DEAD_LETTERS):
        broker.delete_queue(name)
    for name in (exchange, DEAD_LETTERS):
        broker.delete_exchange(name)


def test_a_missing_exchange_is_waited_for_and_never_declared(
    broker: Broker, directory: DataDirectory
) -> None:
    exchange = f"later.{uuid4().hex}"
    with running_intake(
        directory,
        rabbitmq_url=broker.url,
        rabbitmq_input_exchange=exchange,
        rabbitmq_input_routing_key="k",
    ) as intake:
        intake.await_state("disconnected")
        assert exchange in intake.message
        broker.declare_exchange(exchange)
        intake.await_state("running")
    for name in (f"obm.intake.{exchange}.k", DEAD_LETTERS):
        broker.delete_queue(name)
    for name in (exchange, DEAD_LETTERS):
        broker.delete_exchange(name)


def test_a_missing_queue_is_waited_for(broker: Broker, directory: DataDirectory) -> None:
    queue = f"later.{uuid4().hex}"
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("disconnected")
        assert intake.message.startswith("disconnected: ")
        assert "NOT_FOUND" in intake.message
        broker.declare_queue(queue)
        broker.publish(queue, line_of("a"))
        intake.await_ids(["a"])
        intake.await_state("running")
    broker.delete_queue(queue)


def test_a_missing_queue_is_declared_on_request_and_one_that_is_there_is_left_alone(
    broker: Broker, directory: DataDirectory
) -> None:
    made, classic = f"made.{uuid4().hex}", f"classic.{uuid4().hex}"
    broker.declare_queue(classic, {"x-queue-type": "classic", "x-max-length": 7})
    for queue in (made, classic):
        with running_intake(
            directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue, rabbitmq_declare=True
        ) as intake:
            intake.await_state("running")
            broker.publish(queue, line_of(queue))
            until(lambda queue=queue: queue in intake.received_ids)  # type: ignore[misc] # bound now
    assert broker.declare_queue(made) == made  # durable and quorum: other arguments are refused
    for queue in (made, classic):
        broker.delete_queue(queue)


def test_a_queue_deleted_while_consuming_and_made_again_goes_on(
    broker: Broker, directory: DataDirectory
) -> None:
    queue = broker.declare_queue(f"deleted.{uuid4().hex}")
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        broker.publish(queue, line_of("before"))
        intake.await_ids(["before"])
        broker.delete_queue(queue)
        intake.await_state("disconnected")
        broker.declare_queue(queue)
        broker.publish(queue, line_of("after"))
        intake.await_ids(["before", "after"])
    broker.delete_queue(queue)


def test_a_wrong_password_is_told_without_the_password(
    broker: Broker, queue: str, directory: DataDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    url = broker.url_of("guest", "hidden-word")
    with running_intake(directory, rabbitmq_url=url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("disconnected")
        assert "refuses the user, the password" in intake.message
    written = b"".join(path.read_bytes() for path in directory.health.iterdir())
    assert "hidden-word" not in caplog.text
    assert b"hidden-word" not in written
    assert "guest:***@127.0.0.1" in caplog.text


def test_refused_credentials_are_tried_again_after_a_longer_pause(
    broker: Broker, queue: str, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receivers.rabbitmq.LEAST_PAUSE_WHEN_REFUSED_SECONDS", 0.3)
    user = f"user-{uuid4().hex[:8]}"
    url = broker.url_of(user, "right-word")
    with running_intake(directory, rabbitmq_url=url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("disconnected")
        broker.add_user(user, "right-word", configure="", write="", read=".*")
        broker.publish(queue, line_of("a"))
        intake.await_ids(["a"])
    broker.ctl("delete_user", user)


def test_a_broker_that_is_not_there_ends_nothing(directory: DataDirectory) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    with running_intake(directory, rabbitmq_url=url, rabbitmq_input_queue="q") as intake:
        intake.await_state("disconnected")
        assert "refused" in intake.message.lower()


def test_a_connection_closed_by_the_broker_is_made_again(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        intake.await_state("running")
        broker.ctl("close_all_connections", "maintenance")
        intake.await_state("disconnected")
        broker.publish(queue, line_of("a"))
        intake.await_ids(["a"])
        broker.await_count(queue, 0)


def test_paused_intake_leaves_everything_with_the_broker_until_it_is_resumed(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        broker.publish(queue, line_of("before"))
        intake.await_ids(["before"])
        pause_intake(directory, actor="test", reason=None)
        intake.await_state("paused")
        broker.publish(queue, *map(line_of, ids(5)))
        time.sleep(1.2)  # longer than it takes to look at the gate
        assert intake.received_ids == ["before"]
        assert broker.count(queue) == 5
        resume_intake(directory)
        intake.await_ids(["before", *ids(5)])
        assert intake.state == "running"
        broker.await_count(queue, 0)


def test_intake_that_is_paused_under_load_takes_every_message_once(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    count = 12_000
    publisher = threading.Thread(
        target=publish_many, args=(broker, queue, [line_of(name) for name in ids(count)])
    )
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        publisher.start()
        until(lambda: len(intake.received) > 500)
        pause_intake(directory, actor="test", reason=None)
        intake.await_state("paused")
        resume_intake(directory)
        publisher.join(PATIENCE_SECONDS)
        until(lambda: len(intake.received) >= count)
        broker.await_count(queue, 0)
    assert sorted(intake.received_ids) == sorted(ids(count))


def test_a_named_destination_counts_as_soon_as_it_is_defined(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    def named(custom_id: str) -> bytes:
        return line_of(custom_id)[:-1] + b',"delivery_config":{"type":"named","name":"ours"}}'

    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        broker.publish(queue, named("early"))
        until(lambda: len(intake.refused) == 1)
        assert intake.refused[0]["code"] == "destination_not_available"
        definitions = directory.root / "destinations.toml"
        definitions.write_text('[ours]\ntype = "webhook"\nurl = "https://example.com/"\n', "utf-8")
        time.sleep(1.5)  # longer than it takes to look at the definitions
        broker.publish(queue, named("later"))
        intake.await_ids(["later"])
        definitions.write_text("[ours\n", "utf-8")
        until(lambda: "not TOML" in intake.message)
        broker.publish(queue, named("still"))
        intake.await_ids(["later", "still"])


def test_each_log_line_is_told_once_and_not_for_each_try(
    directory: DataDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receivers.rabbitmq_connection.random.uniform", lambda *_: 0.1)
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    with running_intake(directory, rabbitmq_url=url, rabbitmq_input_queue="q") as intake:
        intake.await_state("disconnected")
        time.sleep(1)
    assert sum("No requests from" in record.message for record in caplog.records) == 1


def test_the_example_publishes_what_the_consumer_takes(
    broker: Broker, queue: str, directory: DataDirectory
) -> None:
    requests = EXAMPLES / "support-tickets.jsonl"
    sent = publish_example(broker, "--queue", queue, "--job", "tickets", str(requests))
    assert sent.returncode == 0, sent.stderr
    count = len(requests.read_bytes().splitlines())
    with running_intake(directory, rabbitmq_url=broker.url, rabbitmq_input_queue=queue) as intake:
        until(lambda: len(intake.received) + len(intake.refused) == count)
        assert {line.job for line in intake.received} == {"tickets"}
    unroutable = publish_example(broker, "--queue", "nobody.knows.it", str(requests))
    assert unroutable.returncode == 1
    assert "no queue takes these messages" in unroutable.stderr


def publish_example(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "publish_requests.py"), "--url", broker.url, *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
