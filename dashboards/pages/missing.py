"""What stands at an address where nothing is."""

from typing import Final

from dashboards.components.notices import empty
from dashboards.markup import Html, html
from dashboards.page import Look, Page


def _said(look: Look) -> Html:
    home = Html('<a class="button primary" href="/ui">To the overview</a>')
    return html(
        '<section class="card">{}</section>',
        empty("There is no such page", f"Nothing is at {look.place.path}.", symbol="search",
              more=home),
    )  # fmt: skip


PAGE: Final = Page(
    menu="",
    title="Not found",
    layout=Html('<div class="page"><h1>Not found</h1><div data-tile="said"></div></div>'),
    tiles={"said": _said},
)
