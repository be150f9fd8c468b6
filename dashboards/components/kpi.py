"""One figure with its curve, as a link to what it counts."""

from collections.abc import Sequence

from dashboards.markup import Html, html
from dashboards.theme import sparkline


def kpi(
    name: str,
    value: str,
    *,
    note: str | Html,
    series: Sequence[float],
    colour: str,
    href: str,
    title: str = "",
) -> Html:
    """Return a tile: what it is, the figure, a note, and a small curve."""
    return html(
        '<a class="card kpi" href="{}" title="{}"><span class="name">{}</span>'
        '<span class="value">{}</span>{}<span class="note">{}</span></a>',
        href, title, name, value, sparkline([float(one or 0) for one in series], colour), note,
    )  # fmt: skip
