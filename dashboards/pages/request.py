"""One request: where it stands and why, what was asked and answered, each attempt to deliver."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from batching.destinations import Reach, read_destination
from batching.errors import BadInput
from dashboards.actions import requests as actions
from dashboards.components.board import Event
from dashboards.components.code import copy_button
from dashboards.components.confirm import Question
from dashboards.components.notices import card, empty, notice
from dashboards.components.table import button
from dashboards.components.timeline import timeline
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look, Page
from dashboards.pages.request_story import steps_of, tokens, why_waiting
from dashboards.pages.request_texts import texts
from dashboards.pages.request_words import (
    delivery_badge,
    possible_deeds,
    question_about,
    state_badge,
    target_words,
)
from dashboards.pages.requests import deed_of
from dashboards.places import link
from dashboards.wording import UNKNOWN, age, money, number, size
from storage.destination_table import reach_of
from storage.ledger import Transaction
from storage.reports.request import request_report
from storage.reports.terms import Terms
from storage.request_filter import RequestFilter
from storage.request_texts import answer_of

Request = Mapping[str, Any]


def whole(look: Look) -> Html:
    """Return everything about the request, all from one report."""
    request = _read(look.reader, request_id=look.place.id, terms=look.site.terms)
    if request is None:
        return _missing(look.place.id)
    waiting = why_waiting(request)
    told = EMPTY if waiting is None else notice(waiting[0], tone=waiting[1], more=waiting[2])
    return html(
        '<div class="grid">{}{}{}{}<div class="grid wide request-grid">{}{}</div></div>',
        _head(request, may_operate=look.visitor.may_operate), told, _fault(look, request),
        _about(request), texts(look, request), card("Timeline", timeline(steps_of(request))),
    )  # fmt: skip


def _missing(request_id: str | None) -> Html:
    text = html(
        'There is no request <span class="mono">{}</span>: the id is wrong, or the request was '
        "forgotten after its time of keeping.",
        request_id,
    )
    more = html(
        '<div class="row"><a class="button primary" href="{}">Search for it</a>'
        '<a class="button" href="{}">All requests</a></div>',
        link("requests", q=request_id), link("requests"),
    )  # fmt: skip
    return html(
        '<h1 class="unseen">Request</h1><section class="card">{}</section>',
        empty("No such request", text, symbol="search", more=more),
    )


def _head(request: Request, *, may_operate: bool) -> Html:
    deeds = possible_deeds(request) if may_operate else []
    return html(
        '<nav class="breadcrumb" aria-label="Breadcrumb"><a href="{}">Requests</a> / '
        '<a href="{}">{}</a></nav>'
        '<div class="page-head" data-id="{}"><h1 class="mono">{}</h1>{}{}{}'
        '<span class="grow"></span>{}</div>',
        link("requests"), link("requests", job=request["job"]), request["job"], request["id"],
        request["custom_id"], copy_button(request["custom_id"], label="Copy the custom_id"),
        state_badge(request), delivery_badge(request),
        join((button(one, small=False) for one in deeds), " "),
    )  # fmt: skip


def _fault(look: Look, request: Request) -> Html:
    """Return what went wrong with the request itself, in the provider's words."""
    if request["state"] != "failed":
        return EMPTY
    answer = answer_of(look.site.directory, request, request["result_id"])
    message = None if answer is None else answer.error_message
    code = request["error_code"] or "failed"
    more = html(
        '<a class="button small" href="{}">Others with this error</a>',
        link("requests", q=f"state:failed error:{code}"),
    )
    status = f" (status {request['status_code']})" if request["status_code"] else ""
    text = html('<b class="mono">{}</b>{} {}', code, status, message or "")
    return notice(text, tone="error", more=more)


def _about(request: Request) -> Html:
    batch = request["batch_id"]
    pairs = [
        ("Job", html('<a href="{}">{}</a>', link("jobs", request["job"]), request["job"])),
        ("Batch", None if batch is None else html(
            '<a href="{}">{}</a>', link("batches", batch), batch)),
        ("Model", html('<span class="mono">{}</span>', request["model"])),
        ("Endpoint", html('<span class="mono">{}</span>', request["url"])),
        ("Size", size(request["request_payload_size"])),
        ("Estimated input", tokens(request["tokens"])),
        ("Input", _counted(request["input_tokens"], request["cached_tokens"], "cached")),
        ("Output", _counted(request["output_tokens"], request["reasoning_tokens"], "reasoning")),
        ("Cost", _cost(request)),
        ("Destination", target_words(request["target"])),
        ("Attempts", _attempts(request)),
        ("Created", age(request["created_at"])),
        ("Updated", age(request["updated_at"])),
        ("Id at the provider", html(
            '<span class="mono">{}</span> {}', request["id"],
            copy_button(request["id"], label="Copy the id at the provider"))),
    ]  # fmt: skip
    items = join(
        html("<div><dt>{}</dt><dd>{}</dd></div>", name, value)
        for name, value in pairs
        if value is not None
    )
    return html('<section class="card request-facts"><dl>{}</dl></section>', items)


def _attempts(request: Request) -> str:
    sent, pushed = request["attempts"], request["delivery_attempt_count"]
    return f"{sent} at the provider, {pushed} to deliver" if pushed else f"{sent} at the provider"


def _counted(count: int | None, part: int | None, name: str) -> str | None:
    if count is None:
        return None
    of_them = f", {number(part)} {name}" if part else ""
    return f"{number(count)} tokens{of_them}"


def _cost(request: Request) -> str:
    if request["cost_usd"] is None:
        has_run = request["input_tokens"] is not None
        return "unknown: no price for this model" if has_run else UNKNOWN
    return f"{money(request['cost_usd'])} instead of {money(request['synchronous_usd'])}"


def _read(reader: Transaction, *, request_id: str | None, terms: Terms) -> dict[str, Any] | None:
    return request_report(reader, request_id or "", terms=terms)


async def _now(desk: Desk) -> dict[str, Any]:
    """Return what is known of the request now; BadInput if it is gone."""
    reading = partial(_read, request_id=desk.place.id, terms=desk.site.terms)
    request = await desk.site.live.in_thread(partial(desk.site.live.reading, reading))
    if request is None:
        raise BadInput(f"there is no request {desk.place.id} any more")
    return request


async def _ask_and_do(desk: Desk, event: Event, *, kind: str) -> None:
    del event  # the page shows one request only
    request = await _now(desk)
    wanted = RequestFilter(places=[(request["segment"], request["row_index"])])
    question = question_about(kind, 1, name=request["custom_id"])
    await desk.confirm_and_perform(question, deed_of(kind, wanted, delivered_too=True))


# --- another destination -------------------------------------------------------------------------

_FIELDS: Final = (
    ("webhook_url", "webhook", "Address", "https://example.com/results"),
    ("rabbitmq_queue", "rabbitmq", "Queue", "results"),
    ("rabbitmq_exchange", "rabbitmq", "or exchange", ""),
    ("rabbitmq_routing_key", "rabbitmq", "with routing key", ""),
    ("name", "named", "Name", "crm"),
)
"""Field, the type that it belongs to, its label and an example."""
_TYPES: Final = {
    "file": "A file in the outbox", "webhook": "A webhook", "rabbitmq": "RabbitMQ",
    "named": "A named destination",
}  # fmt: skip


async def _edit(desk: Desk, event: Event) -> None:
    """Ask where the result shall go until the answer is a destination, and change it."""
    del event
    request = await _now(desk)
    config: dict[str, Any] = json.loads(request["delivery_config"])
    problem: str | None = None
    while True:
        answer = await desk.ask(_destination_question(request, config, problem))
        if answer is None:
            return
        config = destination_in(answer)
        reach = await desk.site.live.in_thread(
            partial(reach_of, desk.site.directory, desk.site.settings)
        )
        problem = _problem_of(config, reach)
        if problem is None:
            await desk.perform(actions.edit_delivery(request, config, reach=reach))
            return


def destination_in(answer: Mapping[str, str]) -> dict[str, Any]:
    """Return the delivery_config that the fields of the dialog say."""
    kind = answer.get("type", "")
    mine = {name: answer.get(name, "").strip() for name, type_, _, _ in _FIELDS if type_ == kind}
    return {"type": kind, **{name: value for name, value in mine.items() if value}}


def _problem_of(config: object, reach: Reach) -> str | None:
    """Return why results cannot go there, as the doors would say it."""
    try:
        return reach.why_not(read_destination(config))
    except BadInput as error:
        return str(error)


def _destination_question(
    request: Request, config: Mapping[str, Any], problem: str | None
) -> Question:
    said = notice(problem.removeprefix("delivery_config: "), tone="error") if problem else EMPTY
    options = join(
        html('<option value="{}"{}>{}</option>', name,
             attributes(selected=name == config.get("type")), words)
        for name, words in _TYPES.items()
    )  # fmt: skip
    fields = join(
        html(
            '<label class="field for-{}">{}<input type="text" name="{}" value="{}" '
            'placeholder="{}" maxlength="2000" autocomplete="off" spellcheck="false"></label>',
            kind, words, name, config.get(name, ""), example,
        )
        for name, kind, words, example in _FIELDS
    )  # fmt: skip
    return Question(
        title=f"Edit the delivery of {request['custom_id']}",
        text=html("{}<p>The next attempt goes there. What was delivered stays.</p>", said),
        fields=html(
            '<div class="destination grid"><label class="field">Where the result goes'
            '<select name="type">{}</select></label>{}</div>',
            options, fields,
        ),
        verb="Change delivery", keep="Keep it as it is",
    )  # fmt: skip


PAGE: Final = Page(
    menu="requests",
    title="Request {id}",
    layout=Html('<div class="page"><div data-tile="whole"></div></div>'),
    tiles={"whole": whole},
    deeds={
        **{kind: partial(_ask_and_do, kind=kind) for kind in ("redeliver", "again", "cancel")},
        "edit": _edit,
    },
)
