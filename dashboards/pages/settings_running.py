"""What runs and what is held back: switches, the roles and what answers them, the installation."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards.components.code import copy_button
from dashboards.components.notices import card
from dashboards.components.table import Action, button
from dashboards.components.timeline import facts
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.pages.delivery_words import KINDS, name_of
from dashboards.places import link
from dashboards.theme import Tone, badge, bar
from dashboards.wording import age, count_of, number, size
from storage.health import Health, product_version, read_health
from storage.intake_gate import read_pause
from storage.reports.switches import lane_switches, target_switches

_ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "web": ("Web", "REST API; the dashboard too, if it has no process of its own"),
    "dashboard": ("Dashboard", "these pages, where they have a process of their own"),
    "pipeline": ("Pipeline", "takes in, submits, tracks, delivers"),
    "consumer": ("RabbitMQ intake", "takes requests from a queue"),
}
_UNWELL: Final = frozenset({"failing", "waiting", "stopped"})
_NEARLY_FULL: Final = 0.9
_MOST_SWITCHES: Final = 20


def switches(look: Look) -> Html:
    """Return what can be paused, with what waits behind each switch."""
    may_operate = look.visitor.may_operate
    return card(
        "Pause switches",
        html(
            '<div class="switches">{}{}{}</div>',
            _intake(look, may_operate=may_operate),
            _lanes(lane_switches(look.reader), may_operate=may_operate),
            _targets(target_switches(look.reader), may_operate=may_operate),
        ),
        note="what is paused keeps waiting, nothing is lost",
    )


def _intake(look: Look, *, may_operate: bool) -> Html:
    pause = read_pause(look.site.directory)
    if pause is None:
        said = Html("over REST and RabbitMQ; files in the inbox are taken in either way")
        mark, act, words = badge("Open", "success"), "pause-intake", "Pause"
    else:
        why = f": {pause.reason}" if pause.reason else ""
        said = html("by {} for {}{}", pause.actor, age(pause.since, kind="for"), why)
        mark, act, words = badge("Paused", "warning"), "resume-intake", "Resume"
    action = button(Action(act=act, words=words, kind="" if pause is None else "primary"))
    row = _switch("intake", Html("New requests"), said, mark, action if may_operate else EMPTY)
    return html("<section><h3>Intake</h3><ul>{}</ul></section>", row)


def _lanes(rows: Sequence[Mapping[str, Any]], *, may_operate: bool) -> Html:
    items = [
        _switch(
            f"lane-{row['lane_id']}", html('<span class="mono">{}</span>', row["model"]),
            html("{} · {} waiting", row["endpoint"], count_of(row["pending"], "request")),
            _mark(is_paused=row["paused"]),
            _button("lane", is_paused=row["paused"]) if may_operate else EMPTY,
        )
        for row in rows
    ]  # fmt: skip
    paused = sum(row["paused"] for row in rows)
    every = _all("submission", paused=paused, count=len(rows)) if may_operate else EMPTY
    empty_text = "No model has been used yet."
    return _section("Submission, by model", items, every, empty_text)


def _targets(rows: Sequence[Mapping[str, Any]], *, may_operate: bool) -> Html:
    items = [
        _switch(
            row["target"], html('<span class="mono">{}</span>', name_of(row["target"])),
            html("{} · {} waiting", KINDS.get(row["kind"], row["kind"]),
                 count_of(row["pending"], "result")),
            _mark(is_paused=row["paused_at"] is not None),
            _button("target", is_paused=row["paused_at"] is not None) if may_operate else EMPTY,
        )
        for row in sorted(rows, key=lambda row: row["paused_at"] is None)
    ]  # fmt: skip
    paused = sum(row["paused_at"] is not None for row in rows)
    every = _all("delivery", paused=paused, count=len(rows)) if may_operate else EMPTY
    empty_text = "No result has been pushed anywhere yet."
    return _section("Delivery, by destination", items, every, empty_text)


def _section(title: str, items: Sequence[Html], every: Html, empty_text: str) -> Html:
    more = len(items) - _MOST_SWITCHES
    body = html("<ul>{}</ul>", join(items[:_MOST_SWITCHES]))
    if not items:
        body = html('<p class="muted">{}</p>', empty_text)
    elif more > 0:
        all_of_them = html('<a href="{}">all of them</a>', link("deliveries"))
        body = html('{}<p class="muted small">and {} more: {}</p>', body, number(more), all_of_them)
    return html(
        '<section><header><h3>{}</h3><span class="grow"></span>{}</header>{}</section>',
        title, every if items else EMPTY, body,
    )  # fmt: skip


def _switch(identity: str, name: Html, said: Html, mark: Html, action: Html) -> Html:
    return html(
        '<li data-id="{}"><div class="what">{}<span class="sub muted small">{}</span></div>{}{}'
        "</li>",
        identity, name, said, mark, action,
    )  # fmt: skip


def _mark(*, is_paused: bool) -> Html:
    # Not "Running": what is not paused may be without capacity, failing or disabled all the same.
    return badge("Paused", "warning") if is_paused else badge("Not paused", "neutral")


def _button(what: str, *, is_paused: bool) -> Html:
    if is_paused:
        return button(Action(act=f"resume-{what}", words="Resume", kind="primary"))
    return button(Action(act=f"pause-{what}", words="Pause"))


def _all(what: str, *, paused: int, count: int) -> Html:
    found = []
    if paused:
        found.append(Action(act=f"resume-{what}", words="Resume all", kind="primary"))
    if paused < count:
        found.append(Action(act=f"pause-{what}", words="Pause all"))
    return join(button(action) for action in found)


def roles(look: Look) -> Html:
    """Return how each process of the product says that it is, and who last answered it."""
    items = join(_role(look, role, *words) for role, words in _ROLES.items())
    again = button(Action(act="look-again", words="Look again"))
    return card(
        "Roles", html('<ul class="roles">{}</ul>', items), note="as they say themselves",
        more=again,
    )  # fmt: skip


def _role(look: Look, role: str, name: str, duty: str) -> Html:
    health = read_health(look.site.directory.health, role)
    words, tone = _state(look, health)
    return html(
        '<li><div class="head"><b>{}</b><span class="muted small">{}</span><span class="grow">'
        "</span>{}</div>{}</li>",
        name, duty, badge(words, tone), _answers(health) if health else EMPTY,
    )  # fmt: skip


def _state(look: Look, health: Health | None) -> tuple[str, Tone]:
    if health is None:
        return "Not started here", "neutral"
    if not health.is_fresh(look.at):
        return "Down", "error"
    return health.state.capitalize(), "warning" if health.state in _UNWELL else "success"


def _answers(health: Health) -> Html:
    answers = [
        html("{} answered {}", system, age(moment))
        for system, moment in sorted(health.last_answers.items())
    ]
    told = [html("since {}", age(health.since)), *answers, html("version {}", health.version)]
    tone = "trouble" if health.state in _UNWELL else "muted"
    said = html('<p class="small {}">{}</p>', tone, health.message) if health.message else EMPTY
    return html('<p class="muted small">{}</p>{}', join(told, " · "), said)


def installation(look: Look) -> Html:
    """Return the version, where the data are, and how much room there is."""
    root = look.site.directory.root.resolve()
    disk = shutil.disk_usage(root)
    used = disk.total - disk.free
    is_full = used / disk.total >= _NEARLY_FULL
    pairs: list[tuple[str, object]] = [
        ("Version", product_version()),
        ("Data directory", html("<code>{}</code> {}", root,
                                copy_button(str(root), label="Copy the data directory"))),
        ("Ledger", _file_size(look)),
        ("Disk", html("{} free of {}{}", size(disk.free), size(disk.total),
                      bar(used, disk.total, label="Disk in use",
                          tone="warning" if is_full else "primary"))),
        ("Provider", html("<code>{}</code>", look.site.settings.openai_base_url)),
        ("Account", look.site.settings.account_name),
        ("Prefect", _prefect(look)),
    ]  # fmt: skip
    return card("Installation", facts(pairs))


def _file_size(look: Look) -> str:
    rows = sum(row["pending"] for row in lane_switches(look.reader))
    return f"{size(look.site.directory.ledger.stat().st_size)}, {number(rows)} requests pending"


def _prefect(look: Look) -> Html | None:
    address = look.site.prefect_url
    if address is None:
        return None
    return html('<a href="{0}" target="_blank" rel="noopener">{0}</a>', address)
