"""What operators do to deliveries: bring them again, give them up, enable destinations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from batching.errors import BadInput
from batching.lifecycle import (
    DELIVERY_TRANSITIONS,
    OPERATOR_DELIVERY_TRANSITIONS,
    DeliveryState,
    sources_of,
)
from storage.action_outcomes import ActionOutcome, outcome
from storage.ledger import Ledger, Transaction, now
from storage.request_filter import Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which deliveries are meant: those for which everything holds that is given."""

    job: str | None = None
    batch: int | None = None
    custom_ids: Sequence[str] = ()
    delivery_ids: Sequence[int] = ()
    target: str | None = None
    """A target, such as `named:crm` or `webhook:https://example.com:443`."""
    since: datetime | None = None
    """When the result was there."""
    until: datetime | None = None
    outcome: str | None = None
    """What the last attempt came to, such as `timeout`."""
    problem: str | None = None
    """The whole text of what went wrong."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is given."""
        return self == Selection()

    def __str__(self) -> str:
        """Return what is given, for the audit trail."""
        given = {name: getattr(self, name) for name in self.__slots__}
        said = [f"{name} {_short(value)}" for name, value in given.items() if value]
        return ", ".join(said) or "all"


_TESTS: Final[Mapping[str, str]] = {
    "job": "deliveries.job_id IN (SELECT job_id FROM jobs WHERE name = ?)",
    "batch": "deliveries.result_id IN (SELECT result_id FROM results WHERE batch_id = ?)",
    "custom_ids": "(deliveries.segment, deliveries.row_index) IN "
    "(SELECT (segment, row_index) FROM requests WHERE list_contains(?::VARCHAR[], custom_id))",
    "delivery_ids": "list_contains(?::BIGINT[], deliveries.delivery_id)",
    "target": "deliveries.destination_id IN "
    "(SELECT destination_id FROM destinations WHERE target = ?)",
    "since": "deliveries.created_at >= ?::TIMESTAMP",
    "until": "deliveries.created_at < ?::TIMESTAMP",
    "outcome": "deliveries.outcome = ?",
    "problem": "deliveries.problem = ?",
}


def _meant(selection: Selection) -> Condition:
    found = Condition()
    for name, test in _TESTS.items():
        value = getattr(selection, name)
        if value is not None and value != ():
            found = found.also(test, list(value) if name.endswith("_ids") else value)
    return found


def redeliver(ledger: Ledger, selection: Selection, *, failed_only: bool, actor: str) -> int:
    """Bring results again that were delivered or exhausted, or only exhausted; return how many.

    Their attempts count anew, and disabled destinations among them are enabled. Results in
    files are there already, so nothing happens to them.
    """
    with ledger.transaction() as transaction:
        return redeliver_in(
            transaction, _meant(selection), failed_only=failed_only, told=str(selection),
            actor=actor, entity_id=selection.job,
        )  # fmt: skip


def redeliver_selection(
    ledger: Ledger, selection: Selection, *, failed_only: bool, actor: str
) -> ActionOutcome:
    """Do what `redeliver` does, and say what was left as it was."""
    meant = _meant(selection)
    with ledger.transaction() as transaction:
        skipped = undelivered_of(transaction, meant, failed_only=failed_only)
        count = redeliver_in(
            transaction, meant, failed_only=failed_only, told=str(selection), actor=actor,
            entity_id=selection.job,
        )  # fmt: skip
    return outcome(ledger, count, skipped=skipped)


def redeliver_in(
    transaction: Transaction,
    meant: Condition,
    *,
    failed_only: bool,
    told: str,
    actor: str,
    entity_id: str | None = None,
) -> int:
    """Bring again those of the deliveries meant that may be, as part of a larger transaction."""
    chosen = meant.also("list_contains(?, deliveries.state)", _again(failed_only=failed_only))
    _enable(
        transaction,
        f"destination_id IN (SELECT destination_id FROM deliveries WHERE {chosen.sql})",
        chosen.parameters,
        actor=actor,
    )
    count = transaction.execute(
        "UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = NULL, "
        f"outcome = NULL, problem = NULL, finished_at = NULL WHERE {chosen.sql}",
        *chosen.parameters,
    )
    _tell(transaction, entity_id, "redelivered", f"{count} deliveries; {told}", actor=actor)
    return count


def undelivered_of(
    transaction: Transaction, meant: Condition, *, failed_only: bool
) -> dict[str, int]:
    """Return why deliveries among those meant would not be brought again, and how many."""
    rows = transaction.rows(
        f"SELECT state, count(*) AS deliveries FROM deliveries WHERE {meant.sql} "
        "AND NOT list_contains(?, deliveries.state) GROUP BY state",
        *meant.parameters, _again(failed_only=failed_only),
    )  # fmt: skip
    return {_WHY_NOT[row["state"]]: row["deliveries"] for row in rows}


_WHY_NOT: Final[Mapping[str, str]] = {
    DeliveryState.PENDING: "is being delivered",
    DeliveryState.DELIVERED: "is delivered already",
    DeliveryState.EXHAUSTED: "is a dead letter",
    DeliveryState.CANCELLED: "was given up",
}


def cancel_deliveries(ledger: Ledger, selection: Selection, *, actor: str) -> int:
    """Give up the deliveries that wait; return how many."""
    sources = sources_of(DELIVERY_TRANSITIONS, DeliveryState.CANCELLED)
    with ledger.transaction() as transaction:
        return _give_up(transaction, selection, sources, "cancelled", actor=actor)


def discard_dead_letters(ledger: Ledger, selection: Selection, *, actor: str) -> ActionOutcome:
    """Give up the exhausted deliveries for good: they are no longer shown nor kept."""
    sources = sources_of(OPERATOR_DELIVERY_TRANSITIONS, DeliveryState.CANCELLED)
    meant = _meant(selection).also("deliveries.state <> 'exhausted'")
    with ledger.transaction() as transaction:
        others = transaction.rows(
            f"SELECT state, count(*) AS deliveries FROM deliveries WHERE {meant.sql} "
            "GROUP BY state",
            *meant.parameters,
        )
        count = _give_up(transaction, selection, sources, "discarded", actor=actor)
    skipped = {_WHY_NOT[row["state"]]: row["deliveries"] for row in others}
    return outcome(ledger, count, skipped=skipped)


def _give_up(
    transaction: Transaction,
    selection: Selection,
    sources: Sequence[DeliveryState],
    event: str,
    *,
    actor: str,
) -> int:
    states = [state.value for state in sources]
    chosen = _meant(selection).also("list_contains(?, deliveries.state)", states)
    count = transaction.execute(
        "UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, finished_at = "
        f"?, problem = '{event} by an operator' WHERE {chosen.sql}",
        now(),
        *chosen.parameters,
    )
    _tell(transaction, selection.job, event, f"{count} deliveries; {selection}", actor=actor)
    return count


def enable_destination(ledger: Ledger, target: str, *, actor: str) -> int:
    """Let the target be called again, now; return how many of its destinations were disabled."""
    with ledger.transaction() as transaction:
        if not transaction.value("SELECT count(*) FROM targets WHERE target = ?", target):
            raise BadInput(f"no target is called {target!r}")
        count = _enable(transaction, "target = $1", [target], actor=actor)
        _forget_failures(transaction, "target = $1", [target])
    return count


def _enable(
    transaction: Transaction, which: str, parameters: Sequence[object], *, actor: str
) -> int:
    disabled = transaction.rows(
        "SELECT destination_id, target FROM destinations "
        f"WHERE disabled_at IS NOT NULL AND {which}",
        *parameters,
    )
    for row in disabled:
        transaction.execute(
            "UPDATE destinations SET disabled_at = NULL, disabled_because = NULL "
            "WHERE destination_id = ?",
            row["destination_id"],
        )
        _forget_failures(transaction, "target = $1", [row["target"]])
        transaction.record_move("destination", row["destination_id"], "enabled", actor=actor)
    return len(disabled)


def _forget_failures(transaction: Transaction, which: str, parameters: Sequence[object]) -> None:
    transaction.execute(
        "UPDATE targets SET open_until = NULL, openings = 0, failing_since = NULL, "
        f"problem = NULL WHERE {which}",
        *parameters,
    )


def _again(*, failed_only: bool) -> list[str]:
    """Return the states from which a delivery may be brought again."""
    again = list(sources_of(DELIVERY_TRANSITIONS, DeliveryState.PENDING))
    if not failed_only:
        again += sources_of(OPERATOR_DELIVERY_TRANSITIONS, DeliveryState.PENDING)
    return [state.value for state in again]


def _tell(
    transaction: Transaction, job: str | None, event: str, reason: str, *, actor: str
) -> None:
    transaction.record_move("delivery", job or "*", event, actor=actor, reason=reason)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line of the trail
