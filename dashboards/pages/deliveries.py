"""Deliveries: how destinations fare, what was given up and why, every attempt."""

from functools import partial
from typing import Any, Final

from batching.errors import BadInput
from dashboards.actions import deliveries as actions
from dashboards.components.board import Event
from dashboards.components.confirm import Question
from dashboards.components.filters import chips, tabs
from dashboards.components.table import Action, button
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html
from dashboards.page import Look, Page
from dashboards.pages.delivery_letters import group_named, letters_html
from dashboards.pages.delivery_log import filters_html, list_html, wanted_of
from dashboards.pages.delivery_targets import targets_html
from dashboards.pages.delivery_words import (
    discard_question,
    name_of,
    redeliver_question,
    since_question,
)
from dashboards.pages.since import since_of
from dashboards.wording import count_of
from storage.ledger import Transaction, now
from storage.redelivery import Selection
from storage.reports.deliveries import deliveries_view
from storage.reports.delivery_counts import delivery_counts
from storage.reports.paging import PageChoice
from storage.reports.switches import target_switches

_TABS: Final = {
    "destinations": "Destinations", "exhausted": "Dead letters", "pending": "Waiting",
    "delivered": "Delivered", "cancelled": "Given up", "attempts": "All attempts",
}  # fmt: skip
_MOST_LETTERS: Final = 10_000


def head(look: Look) -> Html:
    """Return the tabs with their counts, and the filter by destination."""
    place = look.place
    known = target_switches(look.reader)
    counts = delivery_counts(
        look.reader,
        target=place.get("dest") or None,
        since=since_of(place.get("since"), at=look.at),
    )
    counts["destinations"] = sum(
        not place.get("dest") or row["target"] == place.get("dest") for row in known
    )
    nav = tabs(place.having(open=None, sort=None), _TABS, counts=counts, name="outcome")
    if _is_list(look):
        return html("{}{}", nav, filters_html(look))
    return html("{}{}", nav, chips(place, {"dest": "Destination:"}))


def switch(look: Look) -> Html:
    """Return the buttons that stop or resume delivery to all destinations."""
    known = target_switches(look.reader)
    if not look.visitor.may_operate or not known:
        return EMPTY
    paused = sum(row["paused_at"] is not None for row in known)
    return html(
        "{}{}",
        button(Action(act="resume-all", words="Resume all", kind="primary"), small=False)
        if paused
        else EMPTY,
        button(Action(act="pause-all", words="Pause all delivery"), small=False)
        if paused < len(known)
        else EMPTY,
    )


def destinations(look: Look) -> Html:
    """Return how the destinations fare."""
    return EMPTY if _is_list(look) else targets_html(look)


def letters(look: Look) -> Html:
    """Return the dead letters in groups."""
    place = look.place
    is_wanted = place.get("outcome") == "exhausted" and not (place.get("q") or place.get("cause"))
    return letters_html(look) if is_wanted or not _is_list(look) else EMPTY


def listed(look: Look) -> Html:
    """Return single deliveries, or attempts."""
    return list_html(look) if _is_list(look) else EMPTY


def _is_list(look: Look) -> bool:
    return look.place.get("outcome") in _TABS and look.place.get("outcome") != "destinations"


async def _read(desk: Desk, read: Any) -> Any:
    return await desk.site.live.in_thread(partial(desk.site.live.reading, read))


async def _group_deed(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about all dead letters of one cause, and bring them again or give them up."""
    group = await _read(desk, partial(group_named, key=event.id))
    if group is None:
        desk.toast("There are no such dead letters any more.", "info")
        return
    whose = f" to {name_of(group['target'])}"
    question = _QUESTIONS[kind](group["deliveries"], whose)
    await desk.confirm_and_perform(question, _DEEDS[kind](group["selection"]))


async def _letters_deed(desk: Desk, event: Event, *, kind: str) -> None:
    """Ask about one dead letter, or the ticked ones, and bring them again or give them up."""
    if event.id:
        ids = [int(event.id)]
    elif event.all_matching:
        ids = await _read(desk, partial(_all_matching, desk=desk))
    else:
        ids = [int(number) for number in event.selected]
    if not ids:
        desk.toast("No dead letter is selected.", "info")
        return
    question = _QUESTIONS[kind](len(ids), "")
    await desk.confirm_and_perform(question, _DEEDS[kind](Selection(delivery_ids=ids)))


def _all_matching(reader: Transaction, *, desk: Desk) -> list[int]:
    wanted = wanted_of(desk.place, at=now())
    found = deliveries_view(reader, wanted, PageChoice(limit=_MOST_LETTERS))
    if found["count"] > _MOST_LETTERS:
        raise BadInput(
            f"{found['count']:,} are too many at once: redeliver them by group, or filter further"
        )
    return [row["delivery_id"] for row in found["rows"]]


async def _since(desk: Desk, event: Event) -> None:
    """Ask since when, and bring the dead letters again whose results came after that."""
    del event
    target = desk.place.get("dest") or None
    answer = await desk.ask(since_question(f" to {name_of(target)}" if target else ""))
    if answer is None:
        return
    since = since_of(answer.get("since", ""), at=now())
    if since is None:
        desk.toast("That is no date and time.", "error")
        return
    await desk.perform(actions.redeliver(Selection(target=target, since=since)))


async def _hold(desk: Desk, event: Event, *, paused: bool) -> None:
    deed = actions.hold([event.id], paused=paused)
    if not paused:
        await desk.perform(deed)
        return
    await desk.confirm_and_perform(_pause_question(name_of(event.id)), deed)


async def _hold_all(desk: Desk, event: Event, *, paused: bool) -> None:
    del event
    deed = actions.hold(None, paused=paused)
    if not paused:
        await desk.perform(deed)
        return
    known = await _read(desk, target_switches)
    whose = count_of(len(known), "destination")
    await desk.confirm_and_perform(_pause_question(f"all {whose}"), deed)


def _pause_question(whose: str) -> Question:
    return Question(
        title=f"Pause delivery to {whose}?",
        text="Results that come keep waiting until delivery is resumed; nothing is lost. What is "
        "under way at this moment still arrives. Results in files go on.",
        verb="Pause delivery", keep="Go on",
    )  # fmt: skip


async def _enable(desk: Desk, event: Event) -> None:
    await desk.perform(actions.enable(event.id))


_QUESTIONS: Final = {"redeliver": redeliver_question, "discard": discard_question}
_DEEDS: Final = {"redeliver": actions.redeliver, "discard": actions.discard}

PAGE: Final = Page(
    menu="deliveries",
    title="Deliveries",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Deliveries</h1><span class="grow"></span>'
        '<div data-tile="switch" class="row"></div></div><div data-tile="head" class="grid"></div>'
        '<div data-tile="destinations"></div><div data-tile="letters"></div>'
        '<div data-tile="listed"></div></div>'
    ),
    tiles={
        "switch": switch,
        "head": head,
        "destinations": destinations,
        "letters": letters,
        "listed": listed,
    },
    deeds={
        "redeliver-group": partial(_group_deed, kind="redeliver"),
        "discard-group": partial(_group_deed, kind="discard"),
        "redeliver": partial(_letters_deed, kind="redeliver"),
        "discard": partial(_letters_deed, kind="discard"),
        "redeliver-since": _since,
        "pause": partial(_hold, paused=True),
        "resume": partial(_hold, paused=False),
        "pause-all": partial(_hold_all, paused=True),
        "resume-all": partial(_hold_all, paused=False),
        "enable": _enable,
    },
)
