"""One batch: where it stands and why, what it costs, its files, its requests."""

from functools import partial
from typing import Any, Final

from batching.errors import BadInput
from dashboards.actions.batches import BY_NAME, send_lane_of
from dashboards.components.board import Event
from dashboards.components.notices import card, empty, notice
from dashboards.components.table import Action, button
from dashboards.components.timeline import steps, timeline
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages import batch_cards as cards
from dashboards.pages.batch_story import past_and_expected, transitions_told, why_waiting
from dashboards.pages.batch_words import batch_actions, question_about, state_badge
from dashboards.places import Place, link
from storage.ledger import Transaction
from storage.reports.batch import batch_report
from storage.reports.terms import Terms

_LARGEST_ID: Final = 2**31


def whole(look: Look) -> Html:
    """Return everything about the batch, all from one report."""
    batch = _read(look.reader, look.place, look.site.terms)
    if batch is None:
        return _missing(look.place)
    rows = (
        ("grid three", (cards.about(batch, look.site), cards.provider(batch, look.site),
                        cards.cost(batch))),
        ("grid three", (cards.delivery(batch), cards.requests(batch), _history(batch))),
    )  # fmt: skip
    return html(
        '<div class="grid">{}{}{}{}{}{}</div>',
        _head(batch, may_operate=look.visitor.may_operate),
        _waiting(batch),
        card("Progress", steps(past_and_expected(batch))),
        cards.fault(batch),
        join(html('<div class="{}">{}</div>', name, join(row)) for name, row in rows),
        cards.first_requests(batch),
    )


def _missing(place: Place) -> Html:
    text = f"There is no batch {place.id}: the number is wrong, or the batch was forgotten."
    back = html('<a class="button primary" href="{}">All batches</a>', link("batches"))
    told = empty("No such batch", text, symbol="search", more=back)
    return html('<h1 class="unseen">Batch</h1><section class="card">{}</section>', told)


def _head(batch: cards.Batch, *, may_operate: bool) -> Html:
    actions = [*_of_this_page(batch), *batch_actions(batch)] if may_operate else []
    return html(
        '<nav class="breadcrumb" aria-label="Breadcrumb"><a href="{}">Batches</a> / {}</nav>'
        '<div class="page-head" data-id="{}"><h1>Batch {}</h1>{}<span class="grow"></span>{}</div>',
        link("batches"), batch["batch_id"], batch["batch_id"], batch["batch_id"],
        state_badge(batch), join((button(one, small=False) for one in actions), " "),
    )  # fmt: skip


def _of_this_page(batch: cards.Batch) -> list[Action]:
    """Return what is offered only to somebody who looks at one batch closely."""
    waits = batch["state"] in {"planned", "uploaded"}
    return [Action(act="send", words="Send its lane now")] if waits else []


def _waiting(batch: cards.Batch) -> Html:
    if batch["waiting"] is None:
        return EMPTY
    text, tone, more = why_waiting(batch["waiting"])
    return notice(text, tone=tone, more=more)


def _history(batch: cards.Batch) -> Html:
    return card("History", timeline(reversed(transitions_told(batch["transitions"]))))


def _read(reader: Transaction, place: Place, terms: Terms) -> dict[str, Any] | None:
    text = place.id or ""
    if not (text.isascii() and text.isdigit() and int(text) < _LARGEST_ID):
        return None
    found = batch_report(reader, int(text), terms=terms)
    return None if found is None else found | {"exhausted": found["deliveries"]["exhausted"]}


async def _ask_and_do(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about this batch with what is known of it now, and do it."""
    del event  # the page shows one batch only
    reading = partial(_read, place=desk.place, terms=desk.site.terms)
    batch = await desk.site.live.in_thread(partial(desk.site.live.reading, reading))
    if batch is None:
        raise BadInput(f"there is no batch {desk.place.id} any more")
    await desk.confirm_and_perform(
        question_about(kind, [batch]), BY_NAME[kind]([batch["batch_id"]])
    )


async def _send(desk: Desk, event: Event) -> None:
    await desk.perform(send_lane_of(int(event.id)))


PAGE: Final = Page(
    menu="batches",
    title="Batch {id}",
    layout=Html('<div class="page"><div data-tile="whole"></div></div>'),
    tiles={"whole": whole},
    deeds={**{kind: partial(_ask_and_do, kind=kind) for kind in BY_NAME}, "send": _send},
)
