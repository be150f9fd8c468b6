"""Destinations in the ledger: each text of `delivery_config` has a number there, 0 is the file."""

from collections.abc import Iterable

from batching.destinations import parse_destination, target_of
from storage.ledger import Transaction, now
from storage.segments import WrittenSegment

FILE = 0
"""The outbox folder of the job; requests without a destination of their own or their job's."""


def ensure_destinations(transaction: Transaction, configs: Iterable[str]) -> None:
    """Give a number to each of these canonical texts that has none, and a record to its target."""
    known = {row["config"] for row in transaction.rows("SELECT config FROM destinations")}
    number = int(transaction.value("SELECT max(destination_id) FROM destinations"))
    for config in sorted(set(configs) - known):
        number += 1
        destination = parse_destination(config)
        target = target_of(destination)
        transaction.execute(
            "INSERT INTO destinations VALUES (?, ?, ?, ?, ?, NULL, NULL)",
            number, config, destination.type, target, now(),
        )  # fmt: skip
        transaction.execute(
            "INSERT INTO targets (target, kind, openings) SELECT $1, $2, 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM targets WHERE target = $1)",
            target, destination.type,
        )  # fmt: skip


def destinations_of_segment(transaction: Transaction, segment: WrittenSegment) -> list[str]:
    """Return the texts of the destinations that a segment's requests name themselves."""
    rows = transaction.rows(
        "SELECT DISTINCT delivery_config FROM read_parquet(?) WHERE delivery_config IS NOT NULL",
        segment.path,
    )
    return [row["delivery_config"] for row in rows]
