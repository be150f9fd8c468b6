"""A file that waits: what it would send and cost, then start it or discard it."""

from dataclasses import asdict
from typing import Any, Final

from panel.viewable import Viewable

from batching.access import Scope
from batching.errors import ConfigurationError
from batching.jobs import LONGEST_JOB_NAME
from dashboards.actions import sending
from dashboards.components.board import Event
from dashboards.components.confirm import Question
from dashboards.components.notices import card, empty, notice
from dashboards.components.table import Column, Table, table_html
from dashboards.components.uploader import Uploader
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages.upload import carry_out
from dashboards.places import link
from dashboards.theme import badge
from dashboards.wording import compact, count_of, money, number, size
from storage.destination_table import named_destinations, reach_of
from storage.held_estimates import HeldEstimate, read_estimate
from storage.held_files import HeldFile, StartedFile, held_file


def whole(look: Look) -> Html:
    """Return what is known of the file."""
    held = held_file(look.site.directory, look.place.id or "")
    if held is None:
        return _gone()
    estimate = read_estimate(held)
    body = (
        Html('<p class="muted">Reading the file: what it would send, and what that costs.</p>')
        if estimate is None
        else _told(held, estimate, look.site.settings.token_safety_factor)
    )
    return html(
        '<div class="grid">{}{}</div>',
        _head(held, estimate, may_submit=look.visitor.may_submit), body,
    )  # fmt: skip


def _gone() -> Html:
    text = "It was started or discarded, or nobody wanted it for a day."
    back = html(
        '<a class="button primary" href="{}">Send requests</a> <a class="button" href="{}">All '
        "jobs</a>",
        link("upload"), link("jobs"),
    )  # fmt: skip
    return empty("This file waits no more", text, symbol="upload", more=back)


def _head(held: HeldFile, estimate: HeldEstimate | None, *, may_submit: bool) -> Html:
    buttons = EMPTY
    if may_submit:
        buttons = html('<button type="button" class="button" data-act="discard">Discard</button>{}',
                       _start_button(held, estimate))  # fmt: skip
    return html(
        '<nav class="breadcrumb" aria-label="Breadcrumb"><a href="{}">Send requests</a> / {}</nav>'
        '<div class="page-head" data-id="{}"><h1 class="job-name">{}</h1>{}'
        '<span class="muted">{}</span><span class="grow"></span>{}</div>',
        link("upload"), held.file, held.held, held.file, badge("Nothing sent yet", "neutral"),
        size(held.bytes), buttons,
    )  # fmt: skip


def _start_button(held: HeldFile, estimate: HeldEstimate | None) -> Html:
    if estimate is None or not estimate.accepted:
        return Html('<button type="button" class="button primary" disabled>Start</button>')
    act = "start" if held.earlier_job is None else "start-again"
    words = f"Start: send {count_of(estimate.accepted, 'request')}"
    return html(
        '<button type="submit" form="choices" class="button primary" data-act="{}">{}</button>',
        act, words,
    )  # fmt: skip


def choices(look: Look) -> Html:
    """Return what can be chosen before the file is started: its job, and where results go."""
    held = held_file(look.site.directory, look.place.id or "")
    if held is None or not look.visitor.may_submit:
        return EMPTY
    options = [
        ("file", "Files in the outbox"),
        *((sending.NAMED + name, f"Destination {name}") for name in _destinations(look)),
    ]
    body = html(
        '<form id="choices" class="send-one" data-act="start" data-id="{}">'
        '<label class="field">Job<input type="text" name="job" maxlength="{}" placeholder="{}" '
        'autocomplete="off"></label><label class="field">Results go to'
        '<select name="destination"><option value="">where the file says, else into files</option>'
        "{}</select></label></form>"
        '<p class="muted small">Files of the same job are counted and delivered together. A line '
        "that names a destination of its own keeps it.</p>",
        held.held, LONGEST_JOB_NAME, held.job,
        join(html('<option value="{}">{}</option>', *option) for option in options),
    )  # fmt: skip
    return card("Before you start", body, note="nothing here has to be filled in")


def _destinations(look: Look) -> list[str]:
    try:
        return sorted(named_destinations(look.site.directory, look.site.settings))
    except ConfigurationError:  # what is wrong with them is told where they are used
        return []


def _told(held: HeldFile, estimate: HeldEstimate, safety_factor: float) -> Html:
    if estimate.refused_because is not None:
        text = html("<b>This file cannot be taken in.</b> {}.", estimate.refused_because)
        return notice(text, tone="error")
    return html(
        "{}{}{}{}", join(_remarks(held, estimate)), _sums(held, estimate, safety_factor),
        table_html(_LANES, [asdict(lane) for lane in estimate.lanes]) if estimate.lanes else EMPTY,
        _refused(estimate),
    )  # fmt: skip


def _remarks(held: HeldFile, estimate: HeldEstimate) -> list[Html]:
    found = []
    if held.earlier_job is not None:
        text = html(
            'The job <a href="{}">{}</a> has taken in the same content before. Started again, it '
            "is sent and paid a second time.", link("jobs", held.earlier_job), held.earlier_job,
        )  # fmt: skip
        found.append(notice(text, tone="warning"))
    if not estimate.accepted:
        text = html("<b>No line of it can be sent.</b> The reasons are below.")
        found.append(notice(text, tone="error"))
    elif estimate.rejected:
        refused = count_of(estimate.rejected, "line")
        text = html("{} would be rejected; the rest can be sent without them.", refused)
        found.append(notice(text, tone="warning"))
    if estimate.models_without_price:
        models = ", ".join(estimate.models_without_price)
        text = html(
            "The price of {} is not known, so neither is the sum. The setting "
            "<code>OBM_PRICE_TABLE</code> can name a table that has it.",
            models,
        )
        found.append(notice(text))
    oversized = sum(lane.oversized for lane in estimate.lanes)
    if oversized:
        text = html("{} are larger than their model's limit of enqueued tokens, and would fail.",
                    count_of(oversized, "request"))  # fmt: skip
        found.append(notice(text, tone="warning"))
    return found


def _sums(held: HeldFile, estimate: HeldEstimate, safety_factor: float) -> Html:
    saved = None
    if estimate.batch_usd is not None and estimate.synchronous_usd is not None:
        saved = estimate.synchronous_usd - estimate.batch_usd
    pieces = join(
        html('<div class="{}"><span class="value">{}</span><span class="name">{}</span></div>',
             kind, value, name)
        for name, value, kind in (
            ("Requests", number(estimate.accepted), ""),
            ("Batches", number(estimate.batches), ""),
            ("Input tokens, estimated", compact(estimate.input_tokens), ""),
            ("Output tokens at most", compact(estimate.output_tokens), ""),
            ("Cost in batches", money(estimate.batch_usd), "main"),
            ("Cost synchronously", money(estimate.synchronous_usd), ""),
            ("You save", money(saved), "good"),
        )
    )  # fmt: skip
    basis = (
        f"Tokens are estimated from bytes, times {safety_factor:g} to be safe; output is each "
        f"request's own maximum. Prices of {estimate.prices_as_of or 'an unknown day'}. It "
        "becomes the job "
    )
    body = html(
        '<div class="sums">{}</div><p class="muted small basis">{}<b>{}</b>.</p>',
        pieces, basis, held.job,
    )  # fmt: skip
    return card("What it would send", body)


_LANES: Final = Table(
    label="Models",
    row_id=lambda row: f"{row['model']} {row['endpoint']}",
    columns=(
        Column(title="Model", kind="mono", cell=lambda row: html(
            '{}<span class="sub">{}</span>', row["model"], row["endpoint"])),
        Column(title="Requests", kind="number", cell=lambda row: number(row["requests"])),
        Column(title="Size", kind="number", cell=lambda row: size(row["bytes"])),
        Column(title="Input tokens", kind="number", cell=lambda row: compact(row["input_tokens"])),
        Column(title="Output tokens", kind="number",
               cell=lambda row: compact(row["output_tokens"])),
        Column(title="Token limit", kind="number", cell=lambda row: compact(row["token_limit"])),
        Column(title="Batches", kind="number", cell=lambda row: number(row["batches"])),
        Column(title="In batches", kind="number", cell=lambda row: money(row["batch_usd"])),
        Column(title="Synchronous", kind="number",
               cell=lambda row: money(row["synchronous_usd"])),
    ),
)  # fmt: skip
_REFUSED: Final = Table(
    label="Lines that would be rejected",
    row_id=lambda row: row["line"],
    columns=(
        Column(title="Line", kind="number", cell=lambda row: number(row["line"])),
        Column(title="Reason", kind="wide", cell=lambda row: row["reason"]),
        Column(title="Code", kind="mono", cell=lambda row: row["code"]),
    ),
)  # fmt: skip


def _refused(estimate: HeldEstimate) -> Html:
    if not estimate.rejected:
        return EMPTY
    shown = [asdict(each) for each in estimate.first_refusals]
    more = estimate.rejected - len(shown)
    note = f"and {more:,} more: the page of the job lists them all" if more > 0 else ""
    return html(
        '<div class="row"><h2>Lines that would be rejected</h2><span class="muted small">{}</span>'
        "</div>{}",
        note, table_html(_REFUSED, shown),
    )  # fmt: skip


async def _start(desk: Desk, event: Event) -> None:
    await _start_it(desk, event, again=False)


async def _start_again(desk: Desk, event: Event) -> None:
    question = Question(
        title="Send the same content again?",
        text="Its requests are sent and paid a second time, as a job of their own.",
        verb="Send again", keep="Keep waiting",
    )  # fmt: skip
    if await desk.ask(question) is not None:
        await _start_it(desk, event, again=True)


async def _start_it(desk: Desk, event: Event, *, again: bool) -> None:
    made: list[StartedFile] = []
    chosen = sending.chosen_settings(
        event.values.get("job", ""), event.values.get("destination", ""),
        reach_of(desk.site.directory, desk.site.settings),
    )  # fmt: skip
    deed = sending.start(
        desk.site.directory, event.id, again=again, made=made.append, side_settings=chosen
    )
    await carry_out(desk, deed)
    if made:
        await desk.go(link("jobs", made[0].job))
    else:
        await desk.refresh()


async def _discard(desk: Desk, event: Event) -> None:
    question = Question(
        title="Discard this file?", text="It is deleted from this server. Nothing of it was sent.",
        verb="Discard file", danger=True,
    )  # fmt: skip
    if await desk.ask(question) is None:
        return
    await carry_out(desk, sending.discard(desk.site.directory, event.id))
    await desk.go(link("upload"))


def _watcher(desk: Desk) -> list[Viewable]:
    waiting = held_file(desk.site.directory, desk.place.id or "")
    watcher = Uploader(held=waiting.held if waiting else "")

    async def read(_change: Any) -> None:
        desk.site.live.forget()
        await desk.refresh()

    watcher.param.watch(read, "ready")
    return [watcher]


PAGE: Final = Page(
    menu="upload",
    title="Send requests",
    layout=Html(
        '<div class="page"><div data-tile="whole"></div><div data-tile="choices"></div>'
        "<div data-upload></div></div>"
    ),
    tiles={"whole": whole, "choices": choices},
    deeds={"start": _start, "start-again": _start_again, "discard": _discard},
    scope=Scope.SUBMIT,
    extras=_watcher,
)  # fmt: skip
