"""Money and tokens on the analytics page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards.components.charts import chart, figures, over_time
from dashboards.components.notices import card, notice
from dashboards.components.table import Column, Table, table_html
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look
from dashboards.pages.analytics_choice import Choice, choice_of
from dashboards.places import link
from dashboards.theme import CHART_COLOURS
from dashboards.wording import compact, count_of, money, number, percent
from storage.reports.usage import By, usage_by, usage_over_time, usage_totals

_BY: Final[Mapping[By, str]] = {"model": "By model", "endpoint": "By endpoint", "job": "By job"}
_MONEY: Final = {
    "cost_usd": ("Paid", CHART_COLOURS["money"]),
    "saved_usd": ("Saved", CHART_COLOURS["delivered"]),
}  # fmt: skip
_TOKENS: Final = {
    "fresh": ("Input", "#3b82f6"), "cached_tokens": ("Cached input", "#93c5fd"),
    "told": ("Output", "#10a37f"), "reasoning_tokens": ("Reasoning", "#f59e0b"),
}  # fmt: skip


def totals(look: Look) -> Html:
    """Return the sums of the chosen time."""
    choice = choice_of(look.place, look.at)
    found = usage_totals(look.reader, choice.filter, terms=look.site.terms)
    saved = percent(found["saved_usd"], found["synchronous_usd"])
    pieces = (
        ("Paid", money(found["cost_usd"]), "main", "in batches"),
        ("At the synchronous price", money(found["synchronous_usd"]), "", "for the same tokens"),
        ("Saved", money(found["saved_usd"]), "good", saved),
        ("Requests", number(found["requests"]), "",
         count_of(found["batches"], "batch", "batches")),
        ("Input tokens", compact(found["input_tokens"]), "",
         f"{percent(found['cached_tokens'], found['input_tokens'])} cached"),
        ("Output tokens", compact(found["output_tokens"]), "",
         f"{percent(found['reasoning_tokens'], found['output_tokens'])} reasoning"),
    )  # fmt: skip
    shown = join(
        html(
            '<div class="{}"><span class="name">{}</span><span class="value">{}</span>'
            '<span class="name">{}</span></div>',
            kind, name, value, note,
        )
        for name, value, kind, note in pieces
    )  # fmt: skip
    more = choice.csv_link("usage")
    body = html('<div class="sums even">{}</div>{}', shown, _unpriced(found["unpriced_batches"]))
    return card("Usage", body, note="of the batches that were collected in this time", more=more)


def _unpriced(batches: int) -> Html:
    if not batches:
        return EMPTY
    text = (
        f"The price of {count_of(batches, 'batch', 'batches')} is not known: they are missing in "
        "these sums, and not counted as free."
    )
    return html('<div class="unpriced">{}</div>', notice(text))


def cost(look: Look) -> Html:
    """Return what was paid and saved over time."""
    choice = choice_of(look.place, look.at)
    rows = usage_over_time(look.reader, choice.filter, terms=look.site.terms)
    picture = over_time(rows, _MONEY, say="money")
    picture["tooltip"]["say"] = "money"
    table = figures(
        ["From", "Paid", "Saved", "Synchronous", "Without a price"],
        [
            (starts(row), money(row["cost_usd"]), money(row["saved_usd"]),
             money(row["synchronous_usd"]), number(row["unpriced_batches"]))
            for row in rows
        ],
        label="Paid and saved over time",
    )  # fmt: skip
    has_any = any(row["cost_usd"] is not None for row in rows)
    body = (
        chart(picture, name="cost", label="Paid and saved over time", table=table)
        if has_any
        else html('<p class="muted">No cost is known in this time.</p>{}',
                  html('<details id="table-cost" class="small"><summary>Show as a table</summary>{}'
                       "</details>", table))
    )  # fmt: skip
    note = f"together the synchronous price; a bar is {choice.pieces}"
    more = choice.csv_link("usage_over_time", in_pieces=True)
    return card("Cost and savings", body, note=note, more=more, grows=has_any)


def tokens(look: Look) -> Html:
    """Return the tokens over time, cached and reasoning ones apart."""
    choice = choice_of(look.place, look.at)
    rows = [
        row | {
            "fresh": row["input_tokens"] - row["cached_tokens"],
            "told": row["output_tokens"] - row["reasoning_tokens"],
        }
        for row in usage_over_time(look.reader, choice.filter, terms=look.site.terms)
    ]  # fmt: skip
    table = figures(
        ["From", "Input", "of it cached", "Output", "of it reasoning"],
        [
            (starts(row), number(row["input_tokens"]), number(row["cached_tokens"]),
             number(row["output_tokens"]), number(row["reasoning_tokens"]))
            for row in rows
        ],
        label="Tokens over time",
    )  # fmt: skip
    picture = chart(over_time(rows, _TOKENS), name="tokens", label="Tokens over time", table=table)
    more = choice.csv_link("usage_over_time", in_pieces=True)
    return card("Tokens", picture, note=f"a bar is {choice.pieces}", more=more)


def parts(look: Look) -> Html:
    """Return usage and money by model, endpoint or job."""
    choice, by = choice_of(look.place, look.at), _chosen(look)
    rows = usage_by(look.reader, choice.filter, by, terms=look.site.terms)
    tabs = join(
        html(
            '<a href="{}"{}>{}</a>', look.place.link(by=None if name == "model" else name),
            attributes(aria_current="page" if name == by else None), words,
        )
        for name, words in _BY.items()
    )  # fmt: skip
    body = (
        table_html(_table(by, choice, rows), rows)
        if rows
        else Html('<section class="card"><p class="muted">No batch was collected.</p></section>')
    )
    return html(
        '<div class="grid"><div class="row tabs-row"><nav class="tabs" aria-label="Break down">{}'
        '</nav><span class="grow"></span>{}</div>{}</div>',
        tabs, choice.csv_link(f"usage_by_{by}"), body,
    )  # fmt: skip


def _chosen(look: Look) -> By:
    return next((name for name in _BY if name == look.place.get("by")), "model")


def _table(by: By, choice: Choice, rows: Sequence[Mapping[str, Any]]) -> Table:
    most = max((row["cost_usd"] or 0 for row in rows), default=0) or 1

    def name(row: Mapping[str, Any]) -> Html:
        address = None
        if by == "job":
            address = link("jobs", row["name"])
        elif by == "model":
            address = link("analytics", preset=choice.preset, model=row["name"])
        shown = html('<a href="{}">{}</a>', address, row["name"]) if address else row["name"]
        width = 100 * (row["cost_usd"] or 0) / most
        return html('{}<span class="share"><i style="width:{}%"></i></span>', shown, f"{width:.1f}")

    def saved(row: Mapping[str, Any]) -> Html:
        unpriced = row["unpriced_batches"]
        note = f"{unpriced:,} without a price" if unpriced else ""
        return html('{}<span class="sub nowrap">{}</span>', money(row["saved_usd"]), note)

    return Table(
        label=_BY[by],
        row_id=lambda row: row["name"],
        columns=(
            Column(title=by.capitalize(), kind="wide", cell=name),
            Column(title="Batches", kind="number", cell=lambda row: number(row["batches"])),
            Column(title="Requests", kind="number", cell=lambda row: number(row["requests"])),
            *(_tokens_column(title, key) for title, key in _TOKEN_COLUMNS),
            Column(title="Paid", kind="number", cell=lambda row: money(row["cost_usd"])),
            Column(title="Synchronous", kind="number",
                   cell=lambda row: money(row["synchronous_usd"])),
            Column(title="Saved", kind="number", cell=saved),
        ),
    )  # fmt: skip


_TOKEN_COLUMNS: Final = (
    ("Input", "input_tokens"), ("Cached", "cached_tokens"), ("Output", "output_tokens"),
    ("Reasoning", "reasoning_tokens"),
)  # fmt: skip


def _tokens_column(title: str, key: str) -> Column:
    return Column(title=title, kind="number", cell=lambda row: compact(row[key]))


def starts(row: Mapping[str, Any]) -> str:
    """Return when a piece of time begins."""
    return f"{row['starts_at']:%Y-%m-%d %H:%M}"
