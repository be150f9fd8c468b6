"""The menu and the bar above every page, as HTML."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look
from dashboards.places import link
from dashboards.theme import badge, icon
from dashboards.visitor import Visitor
from dashboards.wording import age
from storage.health import Health, product_version, read_health
from storage.intake_gate import read_pause
from storage.reports.overview import dead_letters_tile

ENTRIES: Final[Mapping[str, str]] = {
    "overview": "Overview",
    "batches": "Batches",
    "requests": "Requests",
    "deliveries": "Deliveries",
    "jobs": "Jobs",
    "analytics": "Analytics",
    "settings": "Settings",
    "audit": "Audit",
}
_ROLES: Final[Mapping[str, str]] = {"pipeline": "Pipeline", "consumer": "RabbitMQ intake"}
_THEMES: Final[Mapping[str, str]] = {"system": "System", "light": "Light", "dark": "Dark"}
_PACES: Final[Mapping[str, str]] = {"2": "Live 2 s", "10": "Live 10 s", "0": "Live off"}

MENU_LAYOUT: Final = Html('<div data-tile="menu"></div>')
BAR_LAYOUT: Final = Html(
    '<div class="topbar"><a class="brand" href="/ui">OpenAI Batch Manager</a>'
    '<div data-tile="jump" class="jump-tile"></div><span class="grow"></span>'
    '<div data-tile="health" class="chips-health"></div>'
    '<span class="as-of" data-beat></span><div data-tile="live" class="pace"></div>'
    '<div data-tile="look"></div><div data-tile="user"></div></div>'
)


def menu_html(current: str, *, dead_letters: int, prefect_url: str | None) -> Html:
    """Return the menu with the current entry marked."""
    entries = join(
        html(
            '<a href="{}"{}>{} {}{}</a>',
            link(name), attributes(aria_current="page" if name == current else None), icon(name),
            words, _count(dead_letters) if name == "deliveries" else EMPTY,
        )
        for name, words in ENTRIES.items()
    )  # fmt: skip
    return html(
        '<nav class="menu" aria-label="Pages">{}<hr>'
        '<a href="/ui/upload"{}>{} Send requests</a>{}<p class="foot">Version {} · '
        "press <kbd>?</kbd> for keys</p></nav>",
        entries, attributes(aria_current="page" if current == "upload" else None), icon("upload"),
        _outside(prefect_url), product_version(),
    )  # fmt: skip


def bar_tiles(visitor: Visitor) -> dict[str, Html]:
    """Return what stands in the bar and depends on the visitor only."""
    return {
        "jump": Html(
            '<form class="jump" role="search" method="get" action="/ui/find">'
            '<label class="unseen" for="jump">Find a request, batch or job</label>'
            f'{icon("search")}<input type="search" id="jump" name="q" '
            'placeholder="Find an id or a job" autocomplete="off" spellcheck="false" '
            'maxlength="400"></form>'
        ),
        "live": html(
            '<label><span class="unseen">Refresh</span><select data-signal="choose-pace" '
            'data-remembered="obm-pace">{}</select></label>',
            join(html('<option value="{}">{}</option>', *pair) for pair in _PACES.items()),
        ),
        "look": html(
            '<label><span class="unseen">Theme</span><select data-signal="choose-theme" '
            'data-remembered="obm-theme">{}</select></label>',
            join(html('<option value="{}">{}</option>', *pair) for pair in _THEMES.items()),
        ),
        "user": _user(visitor),
    }


def frame_tiles(look: Look) -> dict[str, Any]:
    """Return what the frame shows of the ledger and of the other processes."""
    return {
        "dead_letters": dead_letters_tile(look.reader, at=look.at)["dead_letters"],
        "health": join(_chip(look, role, words) for role, words in _ROLES.items()),
        "banner": _banner(look),
    }


def _chip(look: Look, role: str, words: str) -> Html:
    health = read_health(look.site.directory.health, role)
    if health is None:
        return EMPTY
    if not health.is_fresh(look.at):
        return badge(f"{words} down", "error", title=_since(health, "last heard of"))
    is_well = health.state not in {"failing", "waiting", "stopped"}
    return badge(
        words if is_well else f"{words}: {health.state}",
        "success" if is_well else "warning",
        title=_since(health, health.state),
    )


def _since(health: Health, words: str) -> str:
    moment = health.written_at if words.startswith("last") else health.since
    answers = ", ".join(
        f"{system} answered {at:%H:%M:%S}" for system, at in health.last_answers.items()
    )
    return f"{words} since {moment:%Y-%m-%d %H:%M:%S} UTC. {health.message or ''} {answers}".strip()


def _banner(look: Look) -> Html:
    pause = read_pause(look.site.directory)
    if pause is None:
        return EMPTY
    why = f": {pause.reason}" if pause.reason else ""
    resume = Html(
        '<button type="button" class="button small" data-act="resume-intake">Resume intake</button>'
    )
    return html(
        '<div class="notice is-warning" role="status">{}<span class="grow">Intake is paused by {} '
        "since {}{}. New requests are refused.</span>{}</div>",
        icon("pause"), pause.actor, age(pause.since, kind="for"), why,
        resume if look.visitor.may_operate else EMPTY,
    )  # fmt: skip


def _count(dead_letters: int) -> Html:
    if not dead_letters:
        return EMPTY
    return html(
        '<span class="count" title="Deliveries that were given up">{}</span>', f"{dead_letters:,}"
    )


def _outside(prefect_url: str | None) -> Html:
    if prefect_url is None:
        return EMPTY
    return html(
        '<a href="{}" target="_blank" rel="noopener">{} Prefect</a>', prefect_url, icon("external")
    )


def _user(visitor: Visitor) -> Html:
    role = "operator" if visitor.may_operate else "viewer"
    leave = (
        Html(
            '<form method="post" action="/ui/logout">'
            '<button class="button quiet">Log out</button></form>'
        )
        if visitor.name != "local"
        else EMPTY
    )
    return html(
        '<details id="user"><summary aria-label="{name}, {role}">'
        '<span class="avatar">{letter}</span></summary><div><b>{name}</b>'
        '<span class="muted">{role}</span>{leave}</div></details>',
        name=visitor.name, role=role, letter=visitor.name[:1].upper(), leave=leave,
    )  # fmt: skip
