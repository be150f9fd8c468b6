"""The batches: which there are, what gathers for the next ones, and what can be done to them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from dashboards.actions import batches as actions
from dashboards.components.board import Event
from dashboards.components.filters import chips, choice, clear_link, search_form, tabs
from dashboards.components.notices import empty
from dashboards.components.table import Action, Column, Table, page_choice, table_html
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages.batch_words import batch_actions, question_about, state_badge, waiting_words
from dashboards.places import Place, link
from dashboards.theme import bar, icon
from dashboards.wording import age, compact, count_of, number, size
from storage.ledger import Transaction
from storage.reports.batches import (
    SORTS,
    BatchFilter,
    batch_ids_matching,
    batches_view,
    gathering,
    models_of_batches,
)
from storage.reports.paging import PageChoice

_TABS: Final = {
    "all": "All", "active": "Active", "attention": "Attention", "finished": "Finished",
}  # fmt: skip
_WORDS: Final = {"q": "Search:", "model": "Model:", "state": "State:", "job": "Job:"}


def filter_of(place: Place) -> BatchFilter:
    """Return the filter that the address holds."""
    tab = place.get("tab")
    return BatchFilter(
        text=place.get("q") or None,
        tab=tab if tab in _TABS else "all",
        state=place.get("state") or None,
        model=place.get("model") or None,
        job=place.get("job") or None,
    )


def filters(look: Look) -> Html:
    """Return search, choices and the filters in force."""
    models = [(model, model) for model in models_of_batches(look.reader)]
    choices = choice(look.place, "model", "Model", models, every="All models")
    form = search_form(
        look.place, label="Search batches", hint="Id, OpenAI's id, model, endpoint or job",
        choices=choices, names=("model",),
    )  # fmt: skip
    return html("{}{}", form, chips(look.place, _WORDS))


def rows(look: Look) -> Html:
    """Return the tabs with their counts and one page of batches, all from one copy."""
    place, wanted = look.place, filter_of(look.place)
    order = page_choice(place, SORTS)
    view = batches_view(look.reader, wanted, order, terms=look.site.terms)
    if view["rows"]:
        body = table_html(
            TABLE, view["rows"], place=place, count=view["count"],
            may_operate=look.visitor.may_operate,
        )  # fmt: skip
    else:
        body = html('<section class="card">{}</section>', _nothing(place, view["tabs"]))
    return html('<div class="grid">{}{}</div>', tabs(place, _TABS, counts=view["tabs"]), body)


def _nothing(place: Place, counts: Mapping[str, int]) -> Html:
    used = [name for name in _WORDS if place.get(name)]
    if used:
        text = "No batch matches these filters."
        return empty("Nothing matches", text, symbol="search", more=clear_link(place, used))
    if counts["all"]:
        return empty("Nothing here", "No batch is in this state now.", symbol="check")
    more = Html('<a class="button primary" href="/ui/upload">Send requests</a>')
    text = "Requests of one model gather until a batch is full or the oldest has waited enough."
    return empty("No batch yet", text, symbol="batches", more=more)


def _progress(row: Mapping[str, Any]) -> Html:
    """Return how many requests of a batch are answered."""
    whole = row["provider_total"] or row["requests"]
    if row["state"] == "collected":
        done = (row["succeeded"] or 0) + (row["failed"] or 0)
        whole = row["requests"]
    else:
        done = (row["provider_completed"] or 0) + (row["provider_failed"] or 0)
    text = f"{number(done)} / {number(whole)}"
    return html(
        '<span class="sub nowrap">{}</span>{}', text, bar(done, whole, label=f"Answered: {text}")
    )


def _status(row: Mapping[str, Any]) -> Html:
    said = waiting_words(row)
    return html("{}{}", state_badge(row), html('<span class="sub">{}</span>', said) if said else "")


TABLE: Final = Table(
    label="Batches",
    row_id=lambda row: row["batch_id"],
    row_link=lambda row: link("batches", row["batch_id"]),
    columns=(
        Column(
            title="ID", kind="strong", sort="id",
            cell=lambda row: html(
                '<a href="{}">{}</a>', link("batches", row["batch_id"]), row["batch_id"]
            ),
        ),
        Column(title="Model", kind="mono", sort="model", cell=lambda row: html(
            '{}<span class="sub">{}</span>', row["model"], row["endpoint"])),
        Column(title="Requests", kind="number", sort="requests",
               cell=lambda row: number(row["requests"])),
        Column(title="Size", kind="number", sort="bytes", cell=lambda row: size(row["bytes"])),
        Column(title="Est. tokens", kind="number", sort="tokens",
               cell=lambda row: compact(row["tokens"])),
        Column(title="Status", sort="state", cell=_status),
        Column(title="Progress", cell=_progress),
        Column(title="In state", sort="state_since",
               cell=lambda row: age(row["state_since"], kind="for")),
        Column(title="Created", sort="created", cell=lambda row: age(row["created_at"])),
    ),
    row_actions=batch_actions,
    bulk_actions=(
        Action(act="cancel", words="Cancel", kind="risky"),
        Action(act="redeliver", words="Redeliver failed"),
        Action(act="forget", words="Delete files", kind="risky"),
    ),
)  # fmt: skip


def gathering_tile(look: Look) -> Html:
    """Return what gathers for the next batches, lane by lane."""
    lanes = gathering(look.reader, terms=look.site.terms)
    if not lanes:
        return EMPTY
    lines = join(_lane(lane, may_operate=look.visitor.may_operate) for lane in lanes)
    return html(
        '<section class="card"><header><h2>Gathering</h2><span class="muted">{}</span></header>'
        '<ul class="gathering">{}</ul></section>',
        "what goes with the next batches", lines,
    )  # fmt: skip


def _lane(lane: Mapping[str, Any], *, may_operate: bool) -> Html:
    sizes = f"{size(lane['bytes'])} · {compact(lane['tokens'])} tokens"
    what = f"{count_of(lane['requests'], 'request')} · {sizes}"
    send = (
        Html('<button type="button" class="button small primary" data-act="send">Send now</button>')
        if may_operate and not lane["flush_requested"]
        else EMPTY
    )
    return html(
        '<li data-id="{}"><div class="who"><span class="mono">{}</span><span class="muted small">{}'
        '</span></div><div class="much">{}{}</div><div class="when muted small">{}</div>{}</li>',
        lane["lane_id"], lane["model"], lane["endpoint"],
        html('<span class="small">{}</span>', what),
        bar(lane["filled_share"], 1, label=f"{lane['model']}: how full the next batch is"),
        _sent_when(lane), send,
    )  # fmt: skip


def _sent_when(lane: Mapping[str, Any]) -> Html:
    if lane["flush_requested"]:
        return html("{} sent at the next look", icon("check"))
    if lane["paused"] or lane["all_jobs_paused"]:
        return Html("paused")
    reason = lane["wait_reason"]
    if reason and reason != "filling":
        until = age(lane["backoff_until"], kind="in") if lane["backoff_until"] else EMPTY
        return html('<span title="{}">waits: {} {}</span>', lane["wait_detail"], reason, until)
    return html(
        "oldest {}, sent {}", age(lane["oldest_at"]), age(lane["sent_at_latest"], kind="in")
    )


async def _one(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about one batch, or about the ticked ones, and do it."""
    batch_ids = await _meant(desk, event)
    if not batch_ids:
        desk.toast("No batch is selected.", "info")
        return
    facts = await desk.site.live.in_thread(
        partial(desk.site.live.reading, partial(_facts, desk=desk, batch_ids=batch_ids))
    )
    deed = actions.BY_NAME[kind](batch_ids)
    await desk.confirm_and_perform(question_about(kind, facts), deed)


async def _meant(desk: Desk, event: Event) -> list[int]:
    if event.id:
        return [int(event.id)]
    if not event.all_matching:
        return [int(number) for number in event.selected]
    wanted, terms = filter_of(desk.place), desk.site.terms

    def all_of_them(reader: Transaction) -> list[int]:
        return batch_ids_matching(reader, wanted, terms=terms)

    return await desk.site.live.in_thread(partial(desk.site.live.reading, all_of_them))


def _facts(reader: Transaction, *, desk: Desk, batch_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return what the ledger knows of these batches now."""
    wanted = BatchFilter(batch_ids=tuple(batch_ids))
    choice_of_all = PageChoice(limit=len(batch_ids))
    found: list[dict[str, Any]] = batches_view(
        reader, wanted, choice_of_all, terms=desk.site.terms
    )["rows"]
    return found


async def _send_now(desk: Desk, event: Event) -> None:
    await desk.perform(actions.send_lane(int(event.id)))


PAGE: Final = Page(
    menu="batches",
    title="Batches",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Batches</h1>'
        '<span class="grow"></span></div><div data-tile="filters" class="grid"></div>'
        '<div data-tile="gathering"></div><div data-tile="rows"></div></div>'
    ),
    tiles={"filters": filters, "gathering": gathering_tile, "rows": rows},
    deeds={
        **{kind: partial(_one, kind=kind) for kind in actions.BY_NAME},
        "send": _send_now,
    },
)
