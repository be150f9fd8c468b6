"""The audit trail: who did what, when, to what, and why."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dashboards.components.filters import chips, choice, clear_link, search_form, tabs
from dashboards.components.notices import empty
from dashboards.components.table import Column, Table, page_choice, table_html
from dashboards.markup import Html, html
from dashboards.page import Look, Page
from dashboards.pages.since import CHOICES, since_of
from dashboards.places import Place, link
from dashboards.theme import Tone, badge
from dashboards.wording import age, moment
from storage.reports.audit import SORTS, AuditFilter, audit_choices, audit_view
from storage.reports.paging import PageChoice
from storage.reports.switches import lane_switches

_TABS: Final = {"all": "Everything", "people": "By people", "pipeline": "By the pipeline"}
_WORDS: Final = {
    "q": "Search:", "actor": "Who:", "entity": "Object:", "id": "Id:", "since": "Since:",
}  # fmt: skip
_PIPELINE: Final = "pipeline"
_TONES: Final[Mapping[str, Tone]] = {
    "failed": "error", "refused": "error", "disabled": "error", "given up": "error",
    "discarded": "warning", "cancelled": "warning", "cancel_requested": "warning",
    "paused": "warning", "revoked": "warning", "files_deleted": "warning",
    "collected": "success", "completed": "success", "working": "success", "enabled": "success",
    "running": "success", "open": "success", "created": "success",
}  # fmt: skip
_PAGES: Final = {
    "batch": "batches", "job": "jobs", "request": "requests", "target": "deliveries",
    "delivery": "deliveries", "destination": "deliveries", "lane": "settings",
    "token": "settings", "intake": "settings", "account": "settings", "token_cap": "settings",
    "file": "upload",
}  # fmt: skip
_WITH_PAGES_OF_THEIR_OWN: Final = frozenset({"batch", "job", "request"})


def filter_of(place: Place, *, at: datetime, who: str) -> AuditFilter:
    """Return the filter that the address holds, for one of the tabs."""
    return AuditFilter(
        actor=_PIPELINE if who == "pipeline" else place.get("actor") or None,
        people_only=who == "people",
        entity=place.get("entity") or None,
        entity_id=place.get("id") or None,
        text=place.get("q") or None,
        since=since_of(place.get("since"), at=at),
    )


def filters(look: Look) -> Html:
    """Return search, choices and the filters in force."""
    place, known = look.place, audit_choices(look.reader)
    people = [(name, _who(name)[0]) for name in known["actors"] if name != _PIPELINE]
    choices = html(
        "{}{}{}",
        choice(place, "actor", "Who", people, every="Everybody"),
        choice(place, "entity", "Object", [(one, _said(one)) for one in known["entities"]],
               every="All objects"),
        choice(place, "since", "Since", CHOICES, every="At any time"),
    )  # fmt: skip
    form = search_form(
        place, label="Search the audit trail", hint="Id, state or reason", choices=choices,
        names=("actor", "entity", "since"),
    )  # fmt: skip
    return html("{}{}", form, chips(place, _WORDS))


def rows(look: Look) -> Html:
    """Return the tabs with their counts and one page of the trail, all from one copy."""
    place = look.place
    tab = place.get("who") if place.get("who") in _TABS else "all"
    order = page_choice(place, SORTS)
    found = audit_view(look.reader, filter_of(place, at=look.at, who=tab), order)
    counts = {tab: found["count"]} | {other: _count(look, other) for other in _TABS if other != tab}
    if found["rows"]:
        body = table_html(
            TABLE, _with_models(look, found["rows"]), place=place, count=found["count"]
        )
    else:
        body = html('<section class="card">{}</section>', _nothing(place, tab))
    return html('<div class="grid">{}{}</div>', tabs(place, _TABS, counts=counts, name="who"), body)


def _with_models(look: Look, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the models of lanes, which are numbers to nobody."""
    models = {str(lane["lane_id"]): lane["model"] for lane in lane_switches(look.reader)}
    return [
        {**row, "model": models.get(row["entity_id"]) if row["entity"] == "lane" else None}
        for row in rows
    ]


def _count(look: Look, who: str) -> int:
    if who == "pipeline" and look.place.get("actor"):
        return 0
    wanted = filter_of(look.place, at=look.at, who=who)
    count: int = audit_view(look.reader, wanted, PageChoice(limit=1))["count"]
    return count


def _nothing(place: Place, tab: str) -> Html:
    used = [name for name in _WORDS if place.get(name)]
    if used:
        text = "Nothing in the trail matches these filters."
        return empty("Nothing matches", text, symbol="search", more=clear_link(place, used))
    if tab == "people":
        text = "What operators do here, over the API or with `obm` is kept with their names."
        return empty("No operator has done anything yet", text, symbol="audit")
    text = "Every move of a batch, job or delivery is written down here, and who made it."
    return empty("Nothing has happened yet", text, symbol="audit")


def _who(actor: str) -> tuple[str, str]:
    """Return a person's name, and the way he came."""
    way, separator, name = actor.partition(":")
    return (name, way) if separator and name else (actor, "")


def _actor(row: Mapping[str, Any]) -> Html:
    if row["actor"] == _PIPELINE:
        return Html('<span class="muted">the pipeline</span>')
    name, way = _who(row["actor"])
    return html(
        '<span class="person"><span class="avatar" aria-hidden="true">{}</span><span><b>{}</b>'
        '<span class="sub">{}</span></span></span>',
        name[:1].upper(), name, _WAYS.get(way, way),
    )  # fmt: skip


_WAYS: Final = {"dashboard": "dashboard", "api": "REST API", "cli": "command line"}


def _object(row: Mapping[str, Any]) -> Html:
    entity, identity = row["entity"], row["entity_id"]
    name = row["model"] or ("several" if identity == "*" else identity)
    said = _said(entity)
    if name == entity:
        return html('<a href="{}">{}</a>', _target(entity, identity), said)
    return html(
        '<a href="{}">{} <span class="{}">{}</span></a>',
        _target(entity, identity), said, "" if entity in {"job", "batch"} else "mono", name,
    )  # fmt: skip


def _said(entity: str) -> str:
    return entity.replace("_", " ").capitalize()


def _target(entity: str, identity: str) -> str:
    page = _PAGES.get(entity, "audit")
    if entity in _WITH_PAGES_OF_THEIR_OWN and identity != "*":
        return link(page, identity)
    if entity == "target":
        return link(page, dest=identity)
    return link(page, tab=_TABS_OF_SETTINGS.get(entity)) if page == "settings" else link(page)


_TABS_OF_SETTINGS: Final = {"lane": "limits", "token_cap": "limits", "token": "access"}


def _what(row: Mapping[str, Any]) -> Html:
    words = row["target"].replace("_", " ")
    mark = badge(words[:1].upper() + words[1:], _TONES.get(row["target"], "neutral"))
    if not row["source"]:
        return mark
    return html('{}<span class="sub">from {}</span>', mark, row["source"].replace("_", " "))


def _why(row: Mapping[str, Any]) -> Html:
    return html('<span title="{0}">{0}</span>', row["reason"] or "")


TABLE: Final = Table(
    label="Audit trail",
    row_id=lambda row: f"{row['happened_at'].timestamp()}-{row['entity']}-{row['entity_id']}",
    columns=(
        Column(
            title="When",
            sort="happened",
            cell=lambda row: html(
                '<span class="nowrap">{}</span><span class="sub">{}</span>',
                moment(row["happened_at"]),
                age(row["happened_at"]),
            ),
        ),
        Column(title="Who", sort="actor", cell=_actor),
        Column(title="On what", kind="wide", sort="entity", cell=_object),
        Column(title="What", sort="target", cell=_what),
        Column(title="Result", kind="wide", cell=_why),
    ),
)

PAGE: Final = Page(
    menu="audit",
    title="Audit",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Audit</h1></div>'
        '<div data-tile="filters" class="grid"></div><div data-tile="rows"></div></div>'
    ),
    tiles={"filters": filters, "rows": rows},
)
