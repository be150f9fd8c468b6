"""A program that sends requests over RabbitMQ: persistent, confirmed, never lost without a word.

    python examples/publish_requests.py --queue requests examples/support-tickets.jsonl
    python examples/publish_requests.py --exchange orders --routing-key new requests.jsonl

Each line of the file becomes one message. A message that no queue takes (`mandatory`) or that
the broker does not confirm is an error. Sending again after an error is safe: a custom_id with
the same content is taken once.
"""

# ruff: noqa: INP001, T201 - a script beside the other examples; printing is what it is for

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

JOB_HEADER = "x-obm-job"
PERSISTENT = 2


def publish(channel: Any, lines: Iterable[bytes], *, exchange: str, key: str, job: str) -> int:
    """Publish each line and wait until the broker has it; return how many there were."""
    channel.confirm_delivery()
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007 - the last number is returned
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=PERSISTENT, headers={JOB_HEADER: job}
        )
        channel.basic_publish(exchange, key, line, properties, mandatory=True)
    return count


def requests_in(path: Path) -> Iterable[bytes]:
    """Return the request lines of a file."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield line.strip()


def main() -> None:
    """Publish what the command line names."""
    parser = argparse.ArgumentParser(description="Send requests over RabbitMQ.")
    parser.add_argument("file", type=Path, help="request lines, one a line")
    parser.add_argument("--url", default=os.environ.get("RABBITMQ_URL", "amqp://localhost/"))
    parser.add_argument("--queue", help="the queue that is RABBITMQ_INPUT_QUEUE")
    parser.add_argument("--exchange", default="", help="instead: RABBITMQ_INPUT_EXCHANGE")
    parser.add_argument("--routing-key", default="", help="RABBITMQ_INPUT_ROUTING_KEY")
    parser.add_argument("--job", default="default", help="name of the job that they belong to")
    options = parser.parse_args()
    if bool(options.queue) == bool(options.exchange):
        parser.error("give either --queue or --exchange")
    try:
        connection = pika.BlockingConnection(pika.URLParameters(options.url))
        count = publish(
            connection.channel(),
            requests_in(options.file),
            exchange=options.exchange,
            key=options.queue or options.routing_key,
            job=options.job,
        )
        connection.close()
    except UnroutableError:
        sys.exit("no queue takes these messages: is its name, or the routing key, right?")
    except NackError:
        sys.exit("the broker refuses the message: the queue may be full; try again later")
    except AMQPError as error:
        sys.exit(f"the broker does not take the requests: {type(error).__name__} {error}")
    print(f"{count} requests published and confirmed")


if __name__ == "__main__":
    main()
