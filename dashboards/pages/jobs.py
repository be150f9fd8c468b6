"""The jobs: what came in together, how far it is, what it costs, and its results."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from batching.errors import BadInput
from dashboards.actions.jobs import BY_NAME
from dashboards.components.board import Event
from dashboards.components.filters import chips, clear_link, search_form, tabs
from dashboards.components.notices import card, empty
from dashboards.components.table import Column, Table, page_choice, table_html
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages.job_words import (
    AT_ONCE,
    cost,
    done,
    kinds,
    question_about,
    results_address,
    row_actions,
    state_badge,
)
from dashboards.places import Place, link
from dashboards.theme import icon
from dashboards.wording import age, number, size
from storage.inbox import waiting_files
from storage.reports.job_facts import job_with_facts, refused_files
from storage.reports.jobs import SORTS, JobFilter, jobs_view

_TABS: Final = {
    "all": "All", "running": "Running", "paused": "Paused", "troubled": "Trouble",
    "complete": "Complete",
}  # fmt: skip
_WORDS: Final = {"q": "Search:"}
_SHOWN: Final = 5
_REMEMBERED: Final = timedelta(days=2)


def filters(look: Look) -> Html:
    """Return the search field and the filters in force."""
    form = search_form(look.place, label="Search jobs", hint="Part of a job's name")
    return html("{}{}", form, chips(look.place, _WORDS))


def rows(look: Look) -> Html:
    """Return the tabs with their counts and one page of jobs, all from one copy."""
    place, tab = look.place, look.place.get("tab")
    wanted = JobFilter(text=place.get("q") or None, tab=tab if tab in _TABS else "all")
    order = page_choice(place, SORTS)
    view = jobs_view(look.reader, wanted, order, terms=look.site.terms)
    if view["rows"]:
        body = table_html(
            TABLE, view["rows"], place=place, count=view["count"],
            may_operate=look.visitor.may_operate,
        )  # fmt: skip
    else:
        body = html('<section class="card">{}</section>', _nothing(place, view["tabs"]))
    return html('<div class="grid">{}{}</div>', tabs(place, _TABS, counts=view["tabs"]), body)


def _nothing(place: Place, counts: Mapping[str, int]) -> Html:
    if place.get("q"):
        text = "No job has this in its name."
        return empty("Nothing matches", text, symbol="search", more=clear_link(place, ["q"]))
    if counts["all"]:
        return empty("Nothing here", "No job is in this state now.", symbol="check")
    more = Html('<a class="button primary" href="/ui/upload">Send requests</a>')
    text = "Every file, every upload, and what is sent one by one belongs to a job."
    return empty("No job yet", text, symbol="jobs", more=more)


def _results(row: Mapping[str, Any]) -> Html:
    ended = row["succeeded"] + row["failed"] + row["cancelled"]
    if not ended:
        return Html('<span class="muted">none yet</span>')
    return html(
        '<a class="nowrap" href="{}" download="{}.jsonl" title="All results so far, as NDJSON">'
        "{} {}</a>",
        results_address(row["name"]), row["slug"], icon("download"), number(ended),
    )  # fmt: skip


def _rejected(row: Mapping[str, Any]) -> Html:
    if not row["rejected"]:
        return Html('<span class="muted">0</span>')
    return html(
        '<a class="bad" href="{}">{}</a>', link("jobs", row["name"], tab="rejected"),
        number(row["rejected"]),
    )  # fmt: skip


TABLE: Final = Table(
    label="Jobs",
    row_id=lambda row: row["name"],
    row_link=lambda row: link("jobs", row["name"]),
    columns=(
        Column(title="Job", kind="wide", sort="name", cell=lambda row: html(
            '<a class="job-name" href="{}" title="{}">{}</a><span class="sub">{}</span>',
            link("jobs", row["name"]), row["name"], row["name"], age(row["created_at"]))),
        Column(title="Source", cell=kinds),
        Column(title="Status", cell=state_badge),
        Column(title="Received", kind="number", cell=lambda row: number(row["received"])),
        Column(title="Accepted", kind="number", sort="requests",
               cell=lambda row: number(row["requests"])),
        Column(title="Rejected", kind="number", sort="rejected", cell=_rejected),
        Column(title="Done", sort="done", cell=done),
        Column(title="Results", kind="number", cell=_results),
        Column(title="Cost", kind="number", cell=cost),
    ),
    row_actions=row_actions,
)  # fmt: skip


def arriving(look: Look) -> Html:
    """Return files that were brought and are no job yet, and those that were refused as a whole."""
    waiting = waiting_files(look.site.directory)
    refused = refused_files(look.reader, since=look.at - _REMEMBERED, most=_SHOWN)
    if not waiting and not refused:
        return EMPTY
    lines = [
        html(
            '<li><i class="dot is-info"></i><div class="what"><b>{}</b><span class="muted">{} · {}'
            '</span></div><span class="when">{}</span></li>',
            one.name, size(one.bytes), one.remark, age(one.since),
        )
        for one in waiting[:_SHOWN]
    ] + [
        html(
            '<li><i class="dot is-error"></i><div class="what"><b>{}</b><span class="muted">refused'
            ': {}</span></div><span class="when">{}</span></li>',
            one["name"], one["reason"], age(one["taken_in_at"]),
        )
        for one in refused
    ]  # fmt: skip
    more = len(waiting) - _SHOWN
    note = f"and {more:,} more that wait" if more > 0 else ""
    return card("Files on their way", html('<ul class="todo">{}</ul>', join(lines)), note=note)


async def ask_and_do(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about a job with what is known of it now, unless it is harmless, and do it."""
    name = event.id or desk.place.id or ""
    deed = BY_NAME[kind](name)
    if kind in AT_ONCE:
        await desk.perform(deed)
        return
    terms = desk.site.terms
    job = await desk.site.live.in_thread(
        partial(desk.site.live.reading, partial(job_with_facts, name=name, terms=terms))
    )
    if job is None:
        raise BadInput(f"no job is called {name!r} any more")
    await desk.confirm_and_perform(question_about(kind, job), deed)


DEEDS: Final = {kind: partial(ask_and_do, kind=kind) for kind in BY_NAME}
_OF_ROWS: Final = ("pause", "resume", "send", "redeliver", "cancel")
"""What `row_actions` offers; the rest is on the page of a job only."""
PAGE: Final = Page(
    menu="jobs",
    title="Jobs",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Jobs</h1><span class="grow"></span>'
        '<a class="button primary" href="/ui/upload">Send requests</a></div>'
        '<div data-tile="filters" class="grid"></div><div data-tile="arriving"></div>'
        '<div data-tile="rows"></div></div>'
    ),
    tiles={"filters": filters, "arriving": arriving, "rows": rows},
    deeds={kind: DEEDS[kind] for kind in _OF_ROWS},
)
