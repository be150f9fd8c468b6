"""What is called so: the answer of the box in the bar. A single hit is opened at once."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.components.notices import empty
from dashboards.markup import Html, html, join
from dashboards.page import Look, Page
from dashboards.places import link
from dashboards.theme import badge, icon
from storage.reports.finding import things_called

_PAGES: Final = {"batch": "batches", "job": "jobs", "request": "requests"}


def hits(look: Look) -> Html:
    """Return the things with this very name, or where to search further."""
    text = look.place.get("q").strip()
    found = things_called(look.reader, text) if text else []
    if len(found) == 1:
        return html('<div data-forward="{}"></div>', _target(found[0]))
    if not found:
        return html('<section class="card">{}</section>', _nothing(text))
    lines = join(
        html(
            '<li>{}<div class="what"><a class="mono" href="{}">{}</a>'
            '<span class="muted">{} · {}</span></div>{}</li>',
            icon(_PAGES[one["kind"]]), _target(one), one["id"], one["kind"], one["belongs_to"],
            badge(one["state"]),
        )
        for one in found
    )  # fmt: skip
    return html('<section class="card"><ul class="todo">{}</ul></section>', lines)


def _target(one: Mapping[str, Any]) -> str:
    return link(_PAGES[one["kind"]], one["id"])


def _nothing(text: str) -> Html:
    more = html(
        '<div class="row"><a class="button" href="{}">Requests with it in their id</a>'
        '<a class="button" href="{}">Batches with it</a></div>',
        link("requests", q=text), link("batches", q=text),
    )  # fmt: skip
    title = f"Nothing is called “{text}”" if text else "What is it called?"
    return empty(
        title, "Looked for a custom_id, a batch, an id at OpenAI and a job of that very name.",
        symbol="search", more=more,
    )  # fmt: skip


PAGE: Final = Page(
    menu="",
    title="Find",
    layout=Html('<div class="page"><h1>Found</h1><div data-tile="hits"></div></div>'),
    tiles={"hits": hits},
)
