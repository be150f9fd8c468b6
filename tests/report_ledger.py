"""A small ledger whose every figure can be counted by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from factories import Store, chat_lines, failure_line, success_line

from batching.jobs import JobSettings
from batching.lifecycle import BatchState
from batching.prices import Price, PriceTable
from batching.settings import Settings
from storage.reports.terms import Terms

AT = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
"""The moment at which the reports look."""
HOUR = timedelta(hours=1)
HOOK = '{"type":"webhook","webhook_url":"https://receiver.example/hook"}'
TARGET = "webhook:https://receiver.example:443"
PRICES = PriceTable(
    as_of="2026-03",
    prices={"gpt-4o-mini": Price(input=Decimal(2), output=Decimal(8), cached_input=Decimal(1))},
)


def terms(**settings: Any) -> Terms:
    """Return terms with one known price and these settings."""
    return Terms(settings=Settings(_env_file=None, **settings), prices=PRICES, token_limits=None)


def look(store: Store, report: Any, *arguments: Any, **named: Any) -> Any:
    """Return what a report says of the store."""
    with store.ledger.transaction() as reader:
        return report(reader, *arguments, **named)


def known_ledger(store: Store) -> Store:
    """Fill the store.

    Batch 1 (gpt-4o-mini): five requests of job `one`, to files: four succeeded and one failed,
    delivered. Batch 2 (local, without a price): four of job `two`, pushed: one delivered, one
    exhausted, two waiting. Batch 3 (gpt-4o-mini): two of job `three`, at the provider. Three of
    job `four` are pending.
    """
    store.take_in(
        chat_lines(5, prefix="one"), name="one", source_id="s1", accepted_at=AT - 9 * HOUR
    )
    _answered(store, failed=1, cost="0.02")
    store.deliver()
    hook = JobSettings.model_validate_json(f'{{"delivery_config":{HOOK}}}')
    store.take_in(
        chat_lines(4, prefix="two", model="local"), name="two", source_id="s2", settings=hook,
        accepted_at=AT - 30 * HOUR,
    )  # fmt: skip
    _answered(store, failed=0, cost=None)
    store.take_in(
        chat_lines(2, prefix="three"), name="three", source_id="s3", accepted_at=AT - HOUR
    )
    store.bring_to(store.claim(), BatchState.SUBMITTED)
    store.take_in(chat_lines(3, prefix="four"), name="four", source_id="s4", accepted_at=AT - HOUR)
    _set_times(store)
    _tried(store)
    return store


def _answered(store: Store, *, failed: int, cost: str | None) -> None:
    batch = store.ended()
    wires = store.wire_ids(batch)
    good = [success_line(wire) for wire in wires[failed:]]
    bad = [failure_line(wire) for wire in wires[:failed]]
    store.collect(batch, good, bad, cost_of=lambda _m, _u: None if cost is None else Decimal(cost))


def _set_times(store: Store) -> None:
    """Put everything at known moments: accepted + 2 h sent, + 4 h finished and delivered."""
    store.run("UPDATE transitions SET happened_at = ?", AT - 2 * HOUR)
    store.run(
        "UPDATE requests SET finished_at = accepted_at + INTERVAL 4 HOUR "
        "WHERE finished_at IS NOT NULL"
    )
    store.run(
        "UPDATE batches SET planned_at = first + INTERVAL 1 HOUR, "
        "submitted_at = first + INTERVAL 2 HOUR, "
        "ended_at = CASE WHEN ended_at IS NOT NULL THEN first + INTERVAL 4 HOUR END, "
        "finished_at = CASE WHEN finished_at IS NOT NULL THEN first + INTERVAL 4 HOUR END "
        "FROM (SELECT batch_id AS number, min(accepted_at) AS first FROM requests GROUP BY ALL) "
        "WHERE batch_id = number"
    )
    store.run("UPDATE batches SET submitted_at = ? WHERE batch_id = 3", AT - HOUR / 2)
    store.run("UPDATE parts SET delivered_at = ?", AT - 5 * HOUR)
    store.run("UPDATE deliveries SET created_at = ?", AT - 26 * HOUR)
    store.run("UPDATE sources SET taken_in_at = ?", AT - HOUR)
    store.run("UPDATE sources SET rejected = 3 WHERE source_id = 's4'")


def _tried(store: Store) -> None:
    """Deliver the first of job `two`, exhaust the second, and try the third once in vain."""
    store.run(
        "INSERT INTO attempts VALUES (1, 1, $1, 'success', 200, 100, NULL), "
        "(2, 1, $1, 'timeout', NULL, 3000, 'no answer'), (3, 1, $1, 'timeout', NULL, 3000, 'no')",
        AT - 2 * HOUR,
    )
    store.run(
        "UPDATE deliveries SET state = 'delivered', outcome = 'success', finished_at = ? "
        "WHERE delivery_id = 1",
        AT - 2 * HOUR,
    )
    store.run(
        "UPDATE deliveries SET state = 'exhausted', outcome = 'timeout', problem = 'no answer', "
        "finished_at = ? WHERE delivery_id = 2",
        AT - 2 * HOUR,
    )
    store.run("UPDATE targets SET failing_since = ?, problem = 'no answer'", AT - 2 * HOUR)
