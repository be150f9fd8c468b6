"""The menu and the bar above every page, as HTML."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.banner import banner_html, health_chips
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look
from dashboards.places import link
from dashboards.theme import icon
from dashboards.visitor import Visitor
from storage.health import product_version
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
        "health": health_chips(look),
        "banner": banner_html(look),
    }


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
