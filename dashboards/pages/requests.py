"""The requests: found by one search box, listed without reflow, and acted on by the thousand."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from dashboards.actions import requests as actions
from dashboards.components.board import Event
from dashboards.components.code import code, curl
from dashboards.components.filters import search_form, tabs
from dashboards.components.notices import empty, notice, skeleton
from dashboards.components.table import Action, Column, Table, page_choice, table_html
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages.request_search import (
    PARAMETERS,
    Search,
    read_terms,
    search_of,
    without,
    written,
)
from dashboards.pages.request_words import (
    delivery_badge,
    question_about,
    state_badge,
    state_note,
    target_words,
)
from dashboards.performing import Deed
from dashboards.places import Place, link
from dashboards.theme import icon
from dashboards.wording import UNKNOWN, age, compact, count_of, number
from storage.ledger import Transaction
from storage.reports.paging import PageChoice
from storage.reports.request import places_of
from storage.reports.requests import SORTS, newer_requests, newest_place, requests_view
from storage.request_filter import RequestFilter
from storage.request_queries import requests_named
from storage.waiting_intake import waiting_intake

_TABS: Final = {
    "all": "All", "pending": "Pending", "batched": "In a batch", "succeeded": "Succeeded",
    "failed": "Failed", "cancelled": "Cancelled",
}  # fmt: skip
_HINT: Final = "Part of a custom_id, or state: batch: job: model: dest: age: error: delivery:"
_MOST_CHIP: Final = 60


def forward(look: Look) -> Html:
    """Return what leads on: to the request of this very id, or to the list as it is now.

    The list as it is now is bounded by the newest request: what comes in later is counted, and
    does not push rows away under somebody's hand.
    """
    custom_id = look.place.get("custom_id")
    if custom_id:
        found = requests_named(look.reader, custom_id)
        if len(found) == 1:
            return _leading_to(link("requests", found[0]["id"]))
        return EMPTY
    if _bound(look.place) is not None:
        return EMPTY
    newest = newest_place(look.reader)
    return EMPTY if newest is None else _leading_to(_bounded(look.place, newest).address)


def _leading_to(address: str) -> Html:
    return html('<div data-forward="{}"></div>', address)


def filters(look: Look) -> Html:
    """Return the search box, what is searched by as chips, and what cannot be understood."""
    search = search_of(look.place, look.at)
    form = search_form(
        _unbounded(look.place), label="Search requests", hint=_HINT, choices=_exports(search.wanted)
    )
    problems = join(notice(problem, tone="warning") for problem in search.problems)
    return html('<div class="request-search">{}</div>{}{}', form, _chips(look.place), problems)


def rows(look: Look) -> Html:
    """Return the tabs with their counts and one page of requests, all from one copy."""
    place = look.place
    if place.get("custom_id"):
        return _named(look)
    bound = _bound(place)
    if bound is None and newest_place(look.reader) is not None:
        return skeleton(8)
    search = search_of(place, look.at)
    view = requests_view(look.reader, search.wanted, _choice(place), newest=bound)
    newer = newer_requests(look.reader, search.wanted, bound)
    if view["rows"]:
        body = table_html(
            TABLE, view["rows"], place=place, count=view["count"],
            may_operate=look.visitor.may_operate,
        )  # fmt: skip
    else:
        body = html('<section class="card">{}</section>', _nothing(look, search, view["states"]))
    return html(
        '<div class="grid">{}<div class="tabs-row">{}{}</div>{}</div>',
        _waiting(look), _tabs(place, search.wanted, view["states"]), _refresh(place, newer), body,
    )  # fmt: skip


def _choice(place: Place) -> PageChoice:
    return page_choice(place, SORTS)


def _tabs(place: Place, wanted: RequestFilter, states: Mapping[str, int]) -> Html:
    counts = {"all": sum(states.values()), **states}
    shown = without(_unbounded(place), "state")
    if wanted.state is not None:
        shown = shown.having(state=wanted.state)
    return tabs(shown, _TABS, counts=counts, name="state")


def _refresh(place: Place, newer: int) -> Html:
    if not newer:
        return EMPTY
    return html(
        '<a class="button small newer" role="status" href="{}">{} {} new · Refresh</a>',
        _unbounded(place).address, icon("retry"), f"{newer:,}",
    )  # fmt: skip


def _waiting(look: Look) -> Html:
    found = waiting_intake(look.site.directory)
    about = "" if found.is_exact else "about "
    said = [f"{about}{count_of(found.requests, 'request')}"] if found.requests else []
    said += [count_of(found.files, "file")] if found.files else []
    if not said:
        return EMPTY
    verb = "is" if found.requests + found.files == 1 else "are"
    text = f"{' and '.join(said)} {verb} waiting for ingestion and not in this list yet."
    return notice(text[0].upper() + text[1:])


def _nothing(look: Look, search: Search, states: Mapping[str, int]) -> Html:
    if search.wanted.is_everything and not sum(states.values()):
        return _nothing_yet(look)
    is_tab = search.wanted == RequestFilter(state=search.wanted.state)
    if is_tab and sum(states.values()) > 0:
        return empty("Nothing here", "No request is in this state now.", symbol="check")
    clear = html(
        '<a class="button" href="{}">Clear filters</a>',
        _unbounded(look.place).link(q=None, **dict.fromkeys(PARAMETERS)),
    )
    return empty(
        "Nothing matches", "No request matches these filters.", symbol="search", more=clear
    )


def _nothing_yet(look: Look) -> Html:
    settings = look.site.settings
    body = (
        '{"custom_id": "first-1", "method": "POST", "url": "/v1/chat/completions", '
        '"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}}'
    )
    address = f"http://{settings.host}:{settings.port}/api/requests"
    command = curl("POST", address, body, with_token=look.visitor.name != "local")
    more = html(
        '{}<a class="button primary" href="/ui/upload">{} Send a file of requests</a>',
        code(command, label="the command"), icon("upload"),
    )  # fmt: skip
    text = "Send one from a shell; it stands here a few seconds later."
    return empty("No request yet", text, symbol="requests", more=more)


def _named(look: Look) -> Html:
    """Return the requests of one custom_id, one a job."""
    custom_id = look.place.get("custom_id")
    found = requests_named(look.reader, custom_id)
    if not found:
        more = html(
            '<a class="button" href="{}">Search for it in ids</a>', link("requests", q=custom_id)
        )
        text = f"No request has the custom_id {custom_id}."
        return html(
            '<section class="card">{}</section>',
            empty("No such request", text, symbol="search", more=more),
        )
    text = f"{len(found)} jobs have a request {custom_id}."
    return html(
        '<div class="grid">{}{}</div>',
        notice(text), table_html(TABLE, found, may_operate=look.visitor.may_operate),
    )  # fmt: skip


def _chips(place: Place) -> Html:
    """Return what is searched by, each piece with a link that takes it away."""
    terms = read_terms(place.get("q"))
    base = _unbounded(place)
    shown = [
        (PARAMETERS.get(term.name or "", "Id:"), term.value,
         base.link(q=written(terms[:index] + terms[index + 1 :]) or None))
        for index, term in enumerate(terms)
    ]  # fmt: skip
    typed = {term.name for term in terms}
    shown += [
        (words, place.get(name), base.link(**{name: None}))
        for name, words in PARAMETERS.items()
        if place.get(name) and name not in typed and name != "state"
    ]
    if not shown:
        return EMPTY
    links = join(
        html(
            '<span class="chip">{0} {1}<a href="{2}" aria-label="Remove the filter {0} {1}">{3}</a>'
            "</span>",
            words, value[:_MOST_CHIP], address, icon("close"),
        )
        for words, value, address in shown
    )  # fmt: skip
    clear = base.link(q=None, **dict.fromkeys(PARAMETERS))
    return html(
        '<div class="chips">{}<a class="button small quiet" href="{}">Clear filters</a></div>',
        links, clear,
    )  # fmt: skip


_EXPORTED: Final = {
    "state": "state", "job": "job", "model": "model", "endpoint": "endpoint",
    "destination": "destination", "target": "target", "delivery_state": "delivery_state",
    "error_code": "error_code", "batch_id": "batch_id", "custom_id_part": "custom_id_part",
    "since": "since", "until": "until",
}  # fmt: skip


def _exports(wanted: RequestFilter) -> Html:
    """Return links that download what the filter finds."""
    found = {name: getattr(wanted, field) for field, name in _EXPORTED.items()}
    query = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in found.items()
        if value is not None
    }
    links = join(
        html(
            '<a class="button" href="/api/export/requests?{}" download title="What the filter '
            'finds, as a {} file">{} {}</a>',
            urlencode({"format": kind, **query}), words, icon("download"), words,
        )
        for kind, words in (("csv", "CSV"), ("parquet", "Parquet"))
    )  # fmt: skip
    return html('<span class="grow"></span><span class="row exports">{}</span>', links)


# --- the bound: what came in later is left out -------------------------------------------------


def _bound(place: Place) -> tuple[int, int] | None:
    """Return the newest request that the list shows, as the address has it."""
    segment, _, row = place.get("before").partition("-")
    is_place = all(text.isascii() and text.isdigit() and len(text) <= 9 for text in (segment, row))  # noqa: PLR2004 - as many digits as an id has
    return (int(segment), int(row)) if is_place else None


def _bounded(place: Place, newest: tuple[int, int]) -> Place:
    page = place.get("page") or None
    return place.having(before=f"{newest[0]}-{newest[1]}", page=page)


def _unbounded(place: Place) -> Place:
    return place.having(before=None)


# --- the table -----------------------------------------------------------------------------------


def _batch(row: Mapping[str, Any]) -> Html:
    if row["batch_id"] is None:
        return html('<span class="muted">{}</span>', UNKNOWN)
    return html('<a href="{}">{}</a>', link("batches", row["batch_id"]), row["batch_id"])


def _delivery(row: Mapping[str, Any]) -> Html:
    return html("{}{}", delivery_badge(row), _sub(target_words(row["target"])))


def _sub(text: str) -> Html:
    return html('<span class="sub cut">{}</span>', text) if text else EMPTY


TABLE: Final = Table(
    label="Requests",
    row_id=lambda row: row["id"],
    row_link=lambda row: link("requests", row["id"]),
    columns=(
        Column(title="Custom ID", kind="mono", sort="custom_id", cell=lambda row: html(
            '<a class="request-id" href="{}" title="{}">{}</a>',
            link("requests", row["id"]), row["custom_id"], row["custom_id"])),
        Column(title="Job", sort="job", cell=lambda row: html(
            '<a class="request-job" href="{}">{}</a>', link("jobs", row["job"]), row["job"])),
        Column(title="Batch", kind="number", sort="batch", cell=_batch),
        Column(title="Model", kind="mono", sort="model",
               cell=lambda row: html('<span class="request-model" title="{0}">{0}</span>{1}',
                                     row["model"], _sub(row["url"]))),
        Column(title="Est. tokens", kind="number", sort="tokens",
               cell=lambda row: compact(row["tokens"])),
        Column(title="Status", sort="state",
               cell=lambda row: html("{}{}", state_badge(row), _sub(state_note(row)))),
        Column(title="Delivery", sort="delivery", cell=_delivery),
        Column(title="Tries", kind="number", sort="attempts",
               cell=lambda row: number(row["attempts"])),
        Column(title="Created", sort="created", cell=lambda row: age(row["created_at"])),
        Column(title="Updated", sort="updated", cell=lambda row: age(row["updated_at"])),
    ),
    bulk_actions=(
        Action(act="redeliver", words="Redeliver"),
        Action(act="again", words="Run again"),
        Action(act="cancel", words="Cancel", kind="risky"),
    ),
)  # fmt: skip


# --- deeds ---------------------------------------------------------------------------------------


async def _many(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about the ticked requests, or all that match, and do it in one transaction."""
    reading = partial(_meant, place=desk.place, event=event)
    wanted, count = await desk.site.live.in_thread(partial(desk.site.live.reading, reading))
    if not count:
        desk.toast("No request is selected.", "info")
        return
    answer = await desk.ask(question_about(kind, count))
    if answer is not None:
        await desk.perform(deed_of(kind, wanted, delivered_too="delivered" in answer))


def deed_of(kind: str, wanted: RequestFilter, *, delivered_too: bool) -> Deed:
    """Return the deed of a button, on these requests."""
    if kind == "redeliver":
        return actions.redeliver(wanted, delivered_too=delivered_too)
    return actions.cancel(wanted) if kind == "cancel" else actions.run_again(wanted)


def _meant(reader: Transaction, *, place: Place, event: Event) -> tuple[RequestFilter, int]:
    """Return which requests are meant and how many these are now."""
    if not event.all_matching:
        places = places_of(reader, event.selected)
        return RequestFilter(places=places), len(places)
    search = search_of(place, datetime.now(UTC))
    if search.problems:
        return RequestFilter(places=[]), 0
    bound = _bound(place)
    wanted = replace(search.wanted, up_to=bound)
    view = requests_view(reader, search.wanted, PageChoice(limit=1), newest=bound)
    return wanted, view["count"]


PAGE: Final = Page(
    menu="requests",
    title="Requests",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Requests</h1></div>'
        '<div data-tile="forward"></div><div data-tile="filters" class="grid"></div>'
        '<div data-tile="rows"></div></div>'
    ),
    tiles={"forward": forward, "filters": filters, "rows": rows},
    deeds={kind: partial(_many, kind=kind) for kind in ("redeliver", "again", "cancel")},
)
