"""The destinations: how each one fares, and what operators can do to it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards.components.filters import clear_link
from dashboards.components.notices import empty
from dashboards.components.table import Action, Column, Table, table_html
from dashboards.markup import EMPTY, Html, html
from dashboards.page import Look
from dashboards.pages.delivery_words import KINDS, cause_words, name_of, target_badge
from dashboards.places import link
from dashboards.theme import bar
from dashboards.wording import age, duration, number, percent
from storage.reports.deliveries import files_report, targets_report

Target = Mapping[str, Any]
_GOOD_SHARE: Final = 0.99
_FILES: Final = "file"


def targets_html(look: Look) -> Html:
    """Return the destinations, those of the filter only, the worst first; files come last."""
    wanted = look.place.get("dest")
    known = [*targets_report(look.reader, at=look.at), *_files(look)]
    shown = [target for target in known if not wanted or target["target"] == wanted]
    if shown:
        return table_html(TABLE, shown, may_operate=look.visitor.may_operate)
    return html('<section class="card">{}</section>', _none(look) if known else _nothing())


def _none(look: Look) -> Html:
    text = f"No destination is called {look.place.get('dest')}."
    return empty("Nothing matches", text, symbol="search", more=clear_link(look.place, ["dest"]))


def _nothing() -> Html:
    text = html(
        "Results go to files unless a request says otherwise: give a job or a request a "
        "<code>delivery_config</code> with a webhook or a queue, and its health is shown here."
    )
    return empty("No destination yet", text, symbol="deliveries")


def _files(look: Look) -> list[dict[str, Any]]:
    """Return the row of results in files, which have no attempts and cannot be paused."""
    found = files_report(look.reader, at=look.at)
    if not found.get("delivered") and not found.get("pending"):
        return []
    return [
        {
            "target": _FILES, "kind": "file", "folder": str(look.site.directory.outbox),
            "destinations": 1, "disabled_at": None, "paused_at": None, "breaker": "closed",
            "failing_since": None, "attempts_24h": found["delivered_24h"],
            "pending": found["pending"], "exhausted": 0, "disabled_because": None,
            "problem": found["problem"], "last_outcome": None, "last_success_at": None,
        }
    ]  # fmt: skip


def _destination(target: Target) -> Html:
    if target["target"] == _FILES:
        return html('<b>Files</b><span class="sub mono">{}</span>', target["folder"])
    return html(
        '<a class="mono" href="{}">{}</a><span class="sub">{}{}</span>',
        link("deliveries", dest=target["target"]), name_of(target["target"]),
        KINDS.get(target["kind"], target["kind"]), _paths(target["destinations"]),
    )  # fmt: skip


def _paths(count: int) -> str:
    return f" · {count} addresses" if count > 1 else ""


def _success(target: Target) -> Html:
    if target["target"] == _FILES:
        return EMPTY
    if not target["attempts_24h"]:
        return Html('<span class="muted">not tried</span>')
    share = target["success_share"]
    text = percent(target["succeeded_24h"], target["attempts_24h"])
    return html(
        '<span class="sub nowrap">{}</span>{}', text,
        bar(share, 1, label=f"Success in 24 h: {text}",
            tone="primary" if share >= _GOOD_SHARE else "warning" if share else "error"),
    )  # fmt: skip


def _speed(target: Target) -> Html:
    if target["target"] == _FILES:
        return EMPTY
    half = target["p50_seconds"]
    return html(
        '<span title="half of the attempts within {}">{}</span>',
        duration(half), duration(target["p95_seconds"]),
    )  # fmt: skip


def _last(target: Target) -> Html:
    problem, cause = target["disabled_because"] or target["problem"], target["last_outcome"]
    if problem:
        said = cause_words(cause) if cause not in {None, "success"} else ""
        return html('<span title="{0}">{0}</span><span class="sub">{1}</span>', problem, said)
    if cause not in {None, "success"}:
        return html("{}", cause_words(cause))
    if target["last_success_at"] is not None:
        return html('<span class="muted">none; delivered {}</span>', age(target["last_success_at"]))
    said = "none" if target["target"] == _FILES else "nothing sent yet"
    return html('<span class="muted">{}</span>', said)


def _count(target: Target, state: str) -> Html:
    value = target[state]
    if not value:
        return Html('<span class="muted">0</span>')
    if target["target"] == _FILES:
        return html("{}", number(value))
    address = link("deliveries", dest=target["target"], outcome=state)
    return html('<a class="{}" href="{}">{}</a>', _count_class(state), address, number(value))


def _count_class(state: str) -> str:
    return "deliveries-dead" if state == "exhausted" else ""


def _actions(target: Target) -> Sequence[Action]:
    if target["target"] == _FILES:
        return []
    found = []
    if target["disabled_at"] or target["failing_since"] or target["breaker"] == "open":
        words = "Enable" if target["disabled_at"] else "Try now"
        found.append(Action(act="enable", words=words, kind="primary"))
    if target["paused_at"]:
        found.append(Action(act="resume", words="Resume", kind="primary"))
    else:
        found.append(Action(act="pause", words="Pause"))
    return found


TABLE: Final = Table(
    label="Destinations",
    row_id=lambda target: target["target"],
    row_actions=_actions,
    columns=(
        Column(title="Destination", kind="wide", cell=_destination),
        Column(title="State", cell=target_badge),
        Column(title="Sent, 24 h", kind="number", cell=lambda one: number(one["attempts_24h"])),
        Column(title="Success", cell=_success),
        Column(title="p95", kind="number", cell=_speed),
        Column(title="Waiting", kind="number", cell=lambda one: _count(one, "pending")),
        Column(title="Dead letters", kind="number", cell=lambda one: _count(one, "exhausted")),
        Column(title="Last error", kind="cut", cell=_last),
    ),
)
