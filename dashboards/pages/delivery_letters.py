"""The dead letters: grouped by destination and cause, each group opens to single ones."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from dashboards.components.notices import card
from dashboards.components.table import Action, Column, Table, button, table_html
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.pages.delivery_words import cause_badge, name_of
from dashboards.places import Place, link
from dashboards.theme import icon
from dashboards.wording import age, count_of, number
from storage.ledger import Transaction
from storage.redelivery import Selection
from storage.reports.dead_letters import Cause, letters_of, request_ids_of
from storage.reports.deliveries import dead_letters

Group = Mapping[str, Any]
_SHOWN: Final = 10
_MOST_GROUPS: Final = 200
_MOST_NAMED: Final = 10_000
"""A group without a text of its own is meant by the ids of so many letters at a time."""


def key_of(group: Group) -> str:
    """Return the short name of a group, for addresses."""
    text = "\x1f".join(str(group[name]) for name in ("target", "outcome", "problem"))
    return sha256(text.encode()).hexdigest()[:12]


def group_named(reader: Transaction, key: str) -> dict[str, Any] | None:
    """Return the group of that name, with its dead letters `selection`; None if it is gone."""
    for group in dead_letters(reader, most=_MOST_GROUPS):
        if key_of(group) == key:
            return group | {"selection": _selection(reader, group)}
    return None


def _selection(reader: Transaction, group: Group) -> Selection:
    if group["outcome"] is not None and group["problem"] is not None:
        return Selection(target=group["target"], outcome=group["outcome"], problem=group["problem"])
    found = letters_of(reader, _cause(group), most=_MOST_NAMED)
    return Selection(delivery_ids=[row["delivery_id"] for row in found])


def letters_html(look: Look) -> Html:
    """Return the groups, the largest first, one of them open if the address says so."""
    wanted = look.place.get("dest")
    groups = [
        group
        for group in dead_letters(look.reader, most=_MOST_GROUPS)
        if not wanted or group["target"] == wanted
    ]
    if not groups:
        body = html(
            '<p class="muted">{} Nothing was given up: every result is delivered or on its way.'
            "</p>",
            icon("check"),
        )
        return card("Dead letters", body)
    total = sum(group["deliveries"] for group in groups)
    note = f"{count_of(total, 'result')} given up, by destination and cause"
    items = join(_group(look, group) for group in groups)
    return card(
        "Dead letters", html('<ul class="letters">{}</ul>', items), note=note, more=_all(look)
    )


def _all(look: Look) -> Html:
    if not look.visitor.may_operate:
        return EMPTY
    return button(Action(act="redeliver-since", words="Redeliver since…"))


def _group(look: Look, group: Group) -> Html:
    key = key_of(group)
    is_open = look.place.get("open") == key
    return html(
        '<li data-id="{}"><div class="head"><a class="toggle{}" href="{}" aria-expanded="{}" '
        'aria-label="Single dead letters of {}, {}">{}</a><div class="what"><span class="mono">{}'
        '</span><span class="problem" title="{}">{}</span></div>{}<div class="much"><b>{}</b>'
        '<span class="muted small">{}, last {}</span></div>{}</div>{}</li>',
        key, " is-open" if is_open else "",
        look.place.link(open=None if is_open else key), "true" if is_open else "false",
        group["target"], group["outcome"], icon("chevron"), name_of(group["target"]),
        group["problem"], group["problem"] or "no text was given",
        cause_badge(group["outcome"]), number(group["deliveries"]),
        count_of(group["jobs"], "job"), age(group["last_at"]), _buttons(look),
        _singles(look, group) if is_open else EMPTY,
    )  # fmt: skip


def _buttons(look: Look) -> Html:
    if not look.visitor.may_operate:
        return EMPTY
    return html(
        '<div class="deeds">{}{}</div>',
        button(Action(act="redeliver-group", words="Redeliver", kind="primary")),
        button(Action(act="discard-group", words="Discard", kind="risky")),
    )


def _singles(look: Look, group: Group) -> Html:
    rows = letters_of(look.reader, _cause(group), most=_SHOWN)
    requests = request_ids_of(look.reader, [row["delivery_id"] for row in rows])
    shown = [row | {"request": requests.get(row["delivery_id"])} for row in rows]
    table = table_html(SINGLES, shown, may_operate=look.visitor.may_operate)
    more = group["deliveries"] - len(rows)
    return html('<div class="singles">{}{}</div>', table, _rest(look.place, group, more))


def _rest(place: Place, group: Group, more: int) -> Html:
    if more <= 0:
        return EMPTY
    address = place.link(outcome="exhausted", dest=group["target"], cause=group["outcome"])
    return html('<a class="small" href="{}">and {} more: show all</a>', address, number(more))


def _cause(group: Group) -> Cause:
    return Cause(target=group["target"], outcome=group["outcome"], problem=group["problem"])


def request_link(row: Group) -> Html:
    """Return the link to the request of a delivery; its bare name if it is forgotten."""
    name = row["custom_id"] or f"delivery {row['delivery_id']}"
    if row["request"] is None or row["custom_id"] is None:
        return html('<span class="mono">{}</span>', name)
    return html('<a class="mono" href="{}">{}</a>', link("requests", row["request"]), name)


def _single_actions(_row: Group) -> Sequence[Action]:
    return [Action(act="redeliver", words="Redeliver")]


SINGLES: Final = Table(
    label="Single dead letters",
    row_id=lambda row: row["delivery_id"],
    row_actions=_single_actions,
    columns=(
        Column(title="Request", kind="wide", cell=request_link),
        Column(title="Job", cell=lambda row: html(
            '<a href="{}">{}</a>', link("jobs", row["job"]), row["job"])),
        Column(title="Attempts", kind="number", cell=lambda row: number(row["attempts"])),
        Column(title="Result since", cell=lambda row: age(row["created_at"])),
        Column(title="Given up", cell=lambda row: age(row["finished_at"])),
    ),
)  # fmt: skip
