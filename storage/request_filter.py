"""Which requests are meant: one description for pages, exports and what is done to many."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Self

from batching.lifecycle import DeliveryState


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFilter:
    """Which requests are wanted: those for which everything holds that is given."""

    state: str | None = None
    job: str | None = None
    model: str | None = None
    endpoint: str | None = None
    destination: str | None = None
    """The kind of it: file, webhook, rabbitmq or named."""
    target: str | None = None
    """A target, such as `named:crm` or `webhook:https://example.com:443`."""
    delivery_state: str | None = None
    error_code: str | None = None
    batch_id: int | None = None
    custom_id_prefix: str | None = None
    custom_id_part: str | None = None
    """Anywhere in the custom_id, small and capital letters alike."""
    since: datetime | None = None
    """When the request was accepted."""
    until: datetime | None = None
    places: Sequence[tuple[int, int]] | None = None
    """A selection, by segment and row."""
    up_to: tuple[int, int] | None = None
    """Leaves out what came in later than the request at this segment and row."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is given."""
        return self == RequestFilter()

    def __str__(self) -> str:
        """Return what is given, for the audit trail."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        said = [f"{name} {_short(value)}" for name, value in given.items() if value is not None]
        return ", ".join(said) or "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition on the table `requests` with the values of its question marks."""

    sql: str = "true"
    parameters: tuple[object, ...] = ()

    def also(self, sql: str, *parameters: object) -> Self:
        """Return the condition that this holds as well."""
        return type(self)(sql=f"{self.sql} AND {sql}", parameters=(*self.parameters, *parameters))


_JOB: Final = "requests.job_id IN (SELECT job_id FROM jobs WHERE name = ?)"
_LANE: Final = "requests.lane_id IN (SELECT lane_id FROM lanes WHERE {column} = ?)"
_DESTINATION: Final = (
    "requests.destination_id IN (SELECT destination_id FROM destinations WHERE {column} = ?)"
)
_TESTS: Final = {
    "state": "requests.state = ?",
    "job": _JOB,
    "model": _LANE.format(column="model"),
    "endpoint": _LANE.format(column="endpoint"),
    "destination": _DESTINATION.format(column="kind"),
    "target": _DESTINATION.format(column="target"),
    "error_code": "requests.error_code = ?",
    "batch_id": "requests.batch_id = ?",
    "custom_id_prefix": "starts_with(requests.custom_id, ?)",
    "since": "requests.accepted_at >= ?::TIMESTAMP",
    "until": "requests.accepted_at < ?::TIMESTAMP",
}
# The side of the deliveries leads: those in a state other than delivered are few.
_DELIVERY: Final = """
requests.rowid {is_in} (
    SELECT request.rowid FROM requests AS request JOIN deliveries AS pushed
        ON pushed.segment = request.segment AND pushed.row_index = request.row_index
        AND pushed.result_id = request.result_id
    WHERE request.destination_id <> 0 AND pushed.{test}
    UNION ALL
    SELECT request.rowid FROM requests AS request JOIN parts AS part
        ON part.job_id = request.job_id AND part.result_id = request.result_id
    WHERE request.destination_id = 0 AND part.{test})
"""
_HAS_STATE: Final = _DELIVERY.format(is_in="IN", test="state = ?")
# Every result has its delivery, so those are left that are in no other state.
_DELIVERED: Final = "(requests.result_id IS NOT NULL AND {})".format(
    _DELIVERY.format(is_in="NOT IN", test="state <> 'delivered'")
)
_RANKS: Final = {"exhausted": 3, "pending": 2, "cancelled": 1}
DELIVERY_RANK: Final = "CASE WHEN requests.result_id IS NULL THEN NULL {} ELSE 0 END".format(
    " ".join(
        "WHEN " + _DELIVERY.format(is_in="IN", test=f"state = '{state}'") + f" THEN {rank}"
        for state, rank in _RANKS.items()
    )
)
"""How badly the delivery of a request's result goes: 0 is delivered, NULL that there is none."""
_FEW: Final = 10
"""So many selected requests are named in the audit trail, not only counted."""
_PLACES: Final = (
    "(requests.segment, requests.row_index) IN "
    "(SELECT (unnest(?::INTEGER[]), unnest(?::INTEGER[])))"
)


def condition_of(wanted: RequestFilter) -> Condition:
    """Return the filter as a condition on the table `requests`."""
    found = Condition()
    for name, test in _TESTS.items():
        value = getattr(wanted, name)
        if value is not None:
            found = found.also(test, value)
    if wanted.delivery_state == DeliveryState.DELIVERED:
        found = found.also(_DELIVERED)
    elif wanted.delivery_state is not None:
        found = found.also(_HAS_STATE, wanted.delivery_state, wanted.delivery_state)
    if wanted.custom_id_part is not None:
        found = found.also(*_holding(wanted.custom_id_part))
    if wanted.places is not None:
        segments, rows = [s for s, _ in wanted.places], [r for _, r in wanted.places]
        found = found.also(_PLACES, segments, rows)
    if wanted.up_to is not None:
        found = found.also("(requests.segment, requests.row_index) <= (?, ?)", *wanted.up_to)
    return found


def rank_of(delivery_state: str) -> str:
    """Return `DELIVERY_RANK` where the state is known already, in this column."""
    ranks = " ".join(f"WHEN '{state}' THEN {rank}" for state, rank in _RANKS.items())
    return f"CASE {delivery_state} {ranks} WHEN 'delivered' THEN 0 END"


def _holding(text: str) -> tuple[str, str]:
    """Return what finds ids that hold this text, and its parameter."""
    if not set(text) & set("%_"):
        # Twice as fast: a pattern with ESCAPE is tried character by character.
        return "requests.custom_id ILIKE ?", f"%{text}%"
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return "requests.custom_id ILIKE ? ESCAPE '!'", f"%{text}%"


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_short, value)) if len(value) <= _FEW else f"{len(value)} selected"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line of the trail
