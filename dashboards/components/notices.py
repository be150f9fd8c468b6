"""What stands where no data stand: skeletons, empty states, trouble, banners."""

from dashboards.markup import EMPTY, Html, html, join
from dashboards.theme import Tone, icon


def skeleton(lines: int = 4) -> Html:
    """Return grey bars for what is still being read."""
    widths = (92, 76, 84, 60, 88, 70)
    bars = join(html('<i style="width:{}%"></i>', widths[n % len(widths)]) for n in range(lines))
    return html(
        '<div class="card"><div class="skeleton" role="status"><span class="unseen">Loading</span>'
        "{}</div></div>",
        bars,
    )


def empty(
    title: str, text: str | Html = "", *, symbol: str = "overview", more: Html = EMPTY
) -> Html:
    """Return what stands where nothing is yet, or nothing matches: title, advice, links."""
    return html(
        '<div class="empty">{}<h2>{}</h2><p>{}</p>{}</div>', icon(symbol), title, text, more
    )


def trouble(name: str, error: Exception) -> Html:
    """Return what stands where a tile could not be read."""
    return html(
        '<div class="notice is-error" role="alert">{}<span class="grow"><b>{} cannot be shown.</b> '
        '{}</span><button type="button" class="button small" data-act="retry">{} Retry</button>'
        "</div>",
        icon("warning"), name, str(error) or type(error).__name__, icon("retry"),
    )  # fmt: skip


def notice(text: str | Html, *, tone: Tone = "info", more: Html = EMPTY) -> Html:
    """Return a coloured line."""
    return html(
        '<div class="notice is-{}">{}<span class="grow">{}</span>{}</div>',
        tone, icon("warning"), text, more,
    )  # fmt: skip


def card(
    title: str, body: Html, *, note: str | Html = "", more: Html = EMPTY, grows: bool = False
) -> Html:
    """Return a bordered card with a heading; a chart in one that grows fills it."""
    return html(
        '<section class="card{}"><header><h2>{}</h2><span class="muted">{}</span>'
        '<span class="grow"></span>{}</header>{}</section>',
        " grows" if grows else "", title, note, more, body,
    )  # fmt: skip
