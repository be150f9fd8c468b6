"""What operators do to deliveries: bring them again, give them up, enable destinations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from batching.errors import BadInput
from batching.lifecycle import (
    DELIVERY_TRANSITIONS,
    OPERATOR_DELIVERY_TRANSITIONS,
    DeliveryState,
    sources_of,
)
from storage.ledger import Ledger, Transaction


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

    @property
    def is_everything(self) -> bool:
        """Whether nothing is given."""
        return self == Selection()

    def __str__(self) -> str:
        """Return what is given, for the audit trail."""
        given = {name: getattr(self, name) for name in self.__slots__}
        said = [f"{name} {_short(value)}" for name, value in given.items() if value]
        return ", ".join(said) or "all"


_MEANT = """
list_contains($1::VARCHAR[], deliveries.state)
    AND ($2::VARCHAR IS NULL OR job_id IN (SELECT job_id FROM jobs WHERE name = $2))
    AND ($3::INTEGER IS NULL OR result_id IN (SELECT result_id FROM results WHERE batch_id = $3))
    AND (len($4::VARCHAR[]) = 0 OR (segment, row_index) IN
        (SELECT (segment, row_index) FROM requests WHERE list_contains($4::VARCHAR[], custom_id)))
    AND (len($5::BIGINT[]) = 0 OR list_contains($5::BIGINT[], delivery_id))
    AND ($6::VARCHAR IS NULL OR destination_id IN
        (SELECT destination_id FROM destinations WHERE target = $6))
    AND ($7::TIMESTAMP IS NULL OR deliveries.created_at >= $7)
    AND ($8::TIMESTAMP IS NULL OR deliveries.created_at < $8)
"""


def redeliver(ledger: Ledger, selection: Selection, *, failed_only: bool, actor: str) -> int:
    """Bring results again that were delivered or exhausted, or only exhausted; return how many.

    Their attempts count anew, and disabled destinations among them are enabled. Results in
    files are there already, so nothing happens to them.
    """
    again = list(sources_of(DELIVERY_TRANSITIONS, DeliveryState.PENDING))
    if not failed_only:
        again += sources_of(OPERATOR_DELIVERY_TRANSITIONS, DeliveryState.PENDING)
    with ledger.transaction() as transaction:
        chosen = _parameters(selection, again)
        _enable(
            transaction,
            f"destination_id IN (SELECT destination_id FROM deliveries WHERE {_MEANT})",
            chosen,
            actor=actor,
        )
        count = transaction.execute(
            "UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = NULL, "
            f"outcome = NULL, problem = NULL, finished_at = NULL WHERE {_MEANT}",
            *chosen,
        )
        _tell(transaction, selection, "redelivered", count, actor)
    return count


def cancel_deliveries(ledger: Ledger, selection: Selection, *, actor: str) -> int:
    """Give up the deliveries that wait; return how many."""
    with ledger.transaction() as transaction:
        count = transaction.execute(
            "UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, "
            f"finished_at = now()::TIMESTAMP, problem = 'cancelled by an operator' WHERE {_MEANT}",
            *_parameters(selection, sources_of(DELIVERY_TRANSITIONS, DeliveryState.CANCELLED)),
        )
        _tell(transaction, selection, "cancelled", count, actor)
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


def _parameters(selection: Selection, states: Sequence[DeliveryState]) -> list[object]:
    return [
        [state.value for state in states], selection.job, selection.batch,
        list(selection.custom_ids), list(selection.delivery_ids), selection.target,
        selection.since, selection.until,
    ]  # fmt: skip


def _tell(
    transaction: Transaction, selection: Selection, event: str, count: int, actor: str
) -> None:
    reason = f"{count} deliveries; {selection}"
    transaction.record_move("delivery", selection.job or "*", event, actor=actor, reason=reason)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line of the trail
