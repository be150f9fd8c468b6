"""The audit trail: who moved what, when, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from storage.ledger import Transaction
from storage.reports.paging import PageChoice, order_by

SORTS: Final[Mapping[str, str]] = {
    "happened": "happened_at",
    "entity": "entity",
    "actor": "actor",
    "target": "target",
}
_FILTER: Final = """
($1::VARCHAR IS NULL OR actor = $1) AND (NOT $2::BOOLEAN OR actor <> 'pipeline')
AND ($3::VARCHAR IS NULL OR entity = $3) AND ($4::VARCHAR IS NULL OR entity_id = $4)
AND ($5::VARCHAR IS NULL OR contains(lower(concat_ws(' ', entity_id, source, target, reason)),
    lower($5)))
AND ($6::TIMESTAMP IS NULL OR happened_at >= $6) AND ($7::TIMESTAMP IS NULL OR happened_at < $7)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFilter:
    """Which lines of the trail are wanted: those for which everything holds that is given."""

    actor: str | None = None
    people_only: bool = False
    """Leave out what the pipeline has done by itself."""
    entity: str | None = None
    """batch, job, lane, request, delivery, destination, target or account."""
    entity_id: str | None = None
    text: str | None = None
    """In the object, the states or the reason."""
    since: datetime | None = None
    until: datetime | None = None


def audit_view(reader: Transaction, wanted: AuditFilter, choice: PageChoice) -> dict[str, Any]:
    """Return `rows` of one page of the trail, the newest first, and their `count`."""
    parameters = (
        wanted.actor, wanted.people_only, wanted.entity, wanted.entity_id, wanted.text or None,
        wanted.since, wanted.until,
    )  # fmt: skip
    order = order_by(SORTS, choice, then="happened_at")
    rows = reader.rows(
        "SELECT happened_at, entity, entity_id, source, target, reason, actor FROM transitions "
        f"WHERE {_FILTER} ORDER BY {order}, entity, entity_id LIMIT $8 OFFSET $9",
        *parameters, choice.limit, choice.offset,
    )  # fmt: skip
    count = reader.value(f"SELECT count(*) FROM transitions WHERE {_FILTER}", *parameters)
    return {"rows": rows, "count": count}


def audit_choices(reader: Transaction) -> dict[str, list[str]]:
    """Return the actors and the kinds of objects that the trail knows."""
    actors = reader.rows("SELECT DISTINCT actor FROM transitions ORDER BY actor LIMIT 1000")
    entities = reader.rows("SELECT DISTINCT entity FROM transitions ORDER BY entity")
    return {
        "actors": [row["actor"] for row in actors],
        "entities": [row["entity"] for row in entities],
    }
