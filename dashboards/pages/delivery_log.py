"""Single deliveries by their state, and every attempt: filtered, in pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dashboards.components.filters import chips, choice, clear_link, search_form
from dashboards.components.notices import empty
from dashboards.components.table import Action, Column, Table, page_choice, table_html
from dashboards.markup import EMPTY, Html, html
from dashboards.page import Look
from dashboards.pages.delivery_letters import request_link
from dashboards.pages.delivery_words import (
    CAUSES_OF_FAILURE,
    cause_badge,
    delivery_badge,
    name_of,
)
from dashboards.pages.since import CHOICES, since_of
from dashboards.places import Place, link
from dashboards.wording import age, duration, moment, number
from storage.reports.dead_letters import request_ids_of
from storage.reports.deliveries import (
    ATTEMPT_SORTS,
    DELIVERY_SORTS,
    DeliveryFilter,
    attempts_view,
    deliveries_view,
)
from storage.reports.switches import target_switches

ATTEMPTS: Final = "attempts"
_FILTERS: Final = {
    "q": "Request:", "dest": "Destination:", "cause": "Cause:", "since": "Since:", "job": "Job:",
}  # fmt: skip
_FAILED: Final = "failed"


def wanted_of(place: Place, *, at: datetime) -> DeliveryFilter:
    """Return the filter that the address holds; of the state, or of attempts."""
    state, cause = place.get("outcome"), place.get("cause")
    return DeliveryFilter(
        state=None if state == ATTEMPTS else state,
        outcome=cause if cause and cause != _FAILED else None,
        failed_only=cause == _FAILED,
        target=place.get("dest") or None,
        job=place.get("job") or None,
        custom_id_part=place.get("q") or None,
        since=since_of(place.get("since"), at=at),
    )


def filters_html(look: Look) -> Html:
    """Return the search, the choices and the filters in force of a list."""
    place = look.place
    targets = [(row["target"], row["target"]) for row in target_switches(look.reader)]
    causes = list(CAUSES_OF_FAILURE)
    if place.get("outcome") == ATTEMPTS:
        causes = [(_FAILED, "All that failed"), ("success", "Delivered"), *causes]
    choices = html(
        "{}{}{}",
        choice(place, "dest", "Destination", targets, every="All destinations"),
        choice(place, "cause", "Cause", causes, every="All causes"),
        choice(place, "since", "Since", CHOICES, every="At any time"),
    )
    form = search_form(
        place, label="Search deliveries", hint="Part of a custom_id", choices=choices,
        names=("dest", "cause", "since"),
    )  # fmt: skip
    return html("{}{}", form, chips(place, _FILTERS))


def list_html(look: Look) -> Html:
    """Return one page of deliveries of a state, or of attempts."""
    place = look.place
    is_attempts = place.get("outcome") == ATTEMPTS
    order = page_choice(place, ATTEMPT_SORTS if is_attempts else DELIVERY_SORTS)
    view = attempts_view if is_attempts else deliveries_view
    found = view(look.reader, wanted_of(place, at=look.at), order)
    if not found["rows"]:
        return html('<section class="card">{}</section>', _nothing(place))
    requests = request_ids_of(look.reader, [row["delivery_id"] for row in found["rows"]])
    rows = [row | {"request": requests.get(row["delivery_id"])} for row in found["rows"]]
    return table_html(
        _table(place), rows, place=place, count=found["count"],
        may_operate=look.visitor.may_operate,
    )  # fmt: skip


def _table(place: Place) -> Table:
    if place.get("outcome") == ATTEMPTS:
        return ATTEMPTS_TABLE
    return DEAD_TABLE if place.get("outcome") == "exhausted" else DELIVERIES_TABLE


def _nothing(place: Place) -> Html:
    used = [name for name in _FILTERS if place.get(name)]
    if used:
        text = "No delivery matches these filters."
        return empty("Nothing matches", text, symbol="search", more=clear_link(place, used))
    title, text = _EMPTY.get(place.get("outcome"), _EMPTY[""])
    return empty(title, text, symbol="check")


_EMPTY: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("Nothing waits", "Every result that is there has been delivered or given up."),
    "exhausted": ("No dead letters", "No delivery has been given up."),
    "delivered": ("Nothing delivered yet", "Results that a webhook or queue takes appear here."),
    "cancelled": ("Nothing given up", "No operator has given a delivery up."),
    "attempts": ("No attempts yet", "Every POST and every message is logged here with its answer."),
    "": ("Nothing here", "There is no such list."),
}


def _target(row: Mapping[str, Any]) -> Html:
    return html(
        '<a class="mono" href="{}" title="{}">{}</a>',
        link("deliveries", dest=row["target"]), row["target"], name_of(row["target"]),
    )  # fmt: skip


def _job(row: Mapping[str, Any]) -> Html:
    return html('<a href="{}">{}</a>', link("jobs", row["job"]), row["job"])


def _cause(row: Mapping[str, Any]) -> Html:
    if row["outcome"] is None:
        return EMPTY
    return html(
        '{}<span class="sub cut" title="{}">{}</span>',
        cause_badge(row["outcome"]), row["problem"], row["problem"],
    )  # fmt: skip


def _next(row: Mapping[str, Any]) -> Html:
    if row["state"] != "pending":
        return age(row["finished_at"])
    if row["next_attempt_at"] is None:
        return Html("at once")
    return html("next {}", age(row["next_attempt_at"], kind="in"))


def _dead_actions(_row: Mapping[str, Any]) -> Sequence[Action]:
    return [Action(act="redeliver", words="Redeliver")]


_COLUMNS: Final = (
    Column(title="Request", kind="wide", cell=request_link),
    Column(title="Job", cell=_job),
    Column(title="Destination", kind="wide", cell=_target),
    Column(title="State", sort="state", cell=lambda row: delivery_badge(row["state"])),
    Column(title="Last attempt", kind="wide", sort="outcome", cell=_cause),
    Column(title="Attempts", kind="number", sort="attempts",
           cell=lambda row: number(row["attempts"])),
    Column(title="Result since", sort="created", cell=lambda row: age(row["created_at"])),
    Column(title="Ended", sort="finished", cell=_next),
)  # fmt: skip
DELIVERIES_TABLE: Final = Table(
    label="Deliveries", row_id=lambda row: row["delivery_id"], columns=_COLUMNS
)
DEAD_TABLE: Final = Table(
    label="Dead letters",
    row_id=lambda row: row["delivery_id"],
    columns=_COLUMNS,
    row_actions=_dead_actions,
    bulk_actions=(
        Action(act="redeliver", words="Redeliver", kind="primary"),
        Action(act="discard", words="Discard", kind="risky"),
    ),
)
ATTEMPTS_TABLE: Final = Table(
    label="Attempts",
    row_id=lambda row: f"{row['delivery_id']}-{row['number']}",
    columns=(
        Column(title="When", sort="attempted", cell=lambda row: moment(row["attempted_at"])),
        Column(title="Request", kind="wide", cell=request_link),
        Column(title="Destination", kind="wide", cell=_target),
        Column(title="No.", kind="number", sort="number", cell=lambda row: row["number"]),
        Column(title="Outcome", sort="outcome", cell=lambda row: cause_badge(row["outcome"])),
        Column(title="Code", kind="number", sort="status_code",
               cell=lambda row: row["status_code"] or Html("&ndash;")),
        Column(title="Took", kind="number", sort="duration",
               cell=lambda row: duration(row["duration_seconds"])),
        Column(title="Answer", kind="cut", cell=lambda row: html(
            '<span class="mono" title="{0}">{0}</span>', row["excerpt"] or "")),
    ),
)  # fmt: skip
