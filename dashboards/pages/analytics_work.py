"""How fast work goes through and what goes wrong, on the analytics page."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards.components.charts import bars, chart, figures, over_time
from dashboards.components.notices import card
from dashboards.components.table import Column, Table, table_html
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.pages.analytics_choice import choice_of
from dashboards.pages.analytics_money import starts
from dashboards.places import link
from dashboards.theme import CHART_COLOURS, Tone, bar, icon
from dashboards.wording import UNKNOWN, compact, duration, number, percent, size
from storage.reports.timing import (
    batch_endings,
    batch_fill,
    batch_turnaround,
    delivery_success,
    errors_by_model,
    flow_over_time,
    request_durations,
    turnaround_by_model,
)
from storage.reports.usage import estimates_by_model

Row = Mapping[str, Any]
_FLOW: Final = {
    "received": ("Received", "#9ca3af"), "sent": ("Sent", "#3b82f6"),
    "finished": ("Finished", "#8b5cf6"), "delivered": ("Delivered", "#10a37f"),
}  # fmt: skip
_WELL_SHARE: Final = 0.99
_FAIR_SHARE: Final = 0.9
_SHOWN_MODELS: Final = 6


def flow(look: Look) -> Html:
    """Return how many requests passed each step over time."""
    choice = choice_of(look.place, look.at)
    rows = flow_over_time(look.reader, choice.filter)
    table = figures(
        ["From", *(words for words, _ in _FLOW.values())],
        [(starts(row), *(number(row[name]) for name in _FLOW)) for row in rows],
        label="Requests at each step over time",
    )
    picture = chart(
        over_time(rows, _FLOW, kind="lines"), name="flow",
        label="Requests at each step over time", table=table,
    )  # fmt: skip
    more = choice.csv_link("flow", in_pieces=True)
    return card("Throughput", picture, note=f"requests; a point is {choice.pieces}", more=more)


def waits(look: Look) -> Html:
    """Return how long requests took from acceptance to their end."""
    choice = choice_of(look.place, look.at)
    found = request_durations(look.reader, choice.filter)
    more = choice.csv_link("time_to_result")
    return _distribution(
        "Time to result", found, name="waits", what="Requests", more=more,
        note="from acceptance to the end of a request", colour=CHART_COLOURS["histogram"],
    )  # fmt: skip


def turnaround(look: Look) -> Html:
    """Return how long batches were at the provider."""
    choice = choice_of(look.place, look.at)
    found = batch_turnaround(look.reader, choice.filter)
    by_model = turnaround_by_model(look.reader, choice.filter)
    models = figures(
        ["Model", "Batches", "p50", "p90", "p99"],
        [
            (row["model"], number(row["batches"]), duration(row["p50_seconds"]),
             duration(row["p90_seconds"]), duration(row["p99_seconds"]))
            for row in by_model
        ],
        label="Turnaround by model",
    ) if by_model else EMPTY  # fmt: skip
    return _distribution(
        "Batch turnaround", found, name="turnaround", what="Batches",
        more=choice.csv_link("batch_turnaround"), note="at the provider", colour="#3b82f6",
        beside=models,
    )  # fmt: skip


def _distribution(
    title: str, found: Row, *, name: str, what: str, more: Html, note: str, colour: str,
    beside: Html = EMPTY,
) -> Html:  # fmt: skip
    if not found["count"]:
        text = f"No {what.lower()[:-1] if what == 'Requests' else 'batch'} has ended in this time."
        return card(title, html('<p class="muted">{}</p>', text), note=note)
    pairs = [(_bucket_name(piece), piece["count"]) for piece in found["buckets"]]
    table = html(
        "{}{}",
        figures(["Time", what], [(words, number(count)) for words, count in pairs], label=title),
        beside,
    )
    picture = chart(
        bars(pairs, colour=colour, name=what), name=name, label=f"{title}: {what.lower()} by time",
        low=True, table=table,
    )  # fmt: skip
    quantiles = join(
        html('<div><span class="name">{}</span><span class="value">{}</span></div>', words,
             duration(found[key]))
        for words, key in (
            ("half within", "p50_seconds"), ("90% within", "p90_seconds"),
            ("99% within", "p99_seconds"),
        )
    )  # fmt: skip
    return card(
        title, html('<div class="sums quantiles">{}</div>{}', quantiles, picture), note=note,
        more=more,
    )  # fmt: skip


def _bucket_name(piece: Row) -> str:
    upper = piece["to_seconds"]
    return "longer" if upper is None else f"≤ {duration(upper)}"


def endings(look: Look) -> Html:
    """Return how batches ended, and how much had to go again."""
    choice = choice_of(look.place, look.at)
    found = batch_endings(look.reader, choice.filter)
    pieces: list[tuple[str, object, str]] = [
        ("Expired", _rate(found["expired_share"]), f"{number(found['expired'])} batches"),
        ("Sent again", _rate(found["returned_share"]),
         f"{number(found['returned_requests'])} requests"),
        ("Failed", number(found["failed"]), "batches"),
        ("Cancelled", number(found["cancelled"]), "batches"),
        ("Refused for tokens", number(found["token_refusals"]), "times"),
    ]  # fmt: skip
    shown = join(
        html('<div><span class="name">{}</span><span class="value">{}</span>'
             '<span class="name">{}</span></div>', name, value, note)
        for name, value, note in pieces
    )  # fmt: skip
    note = f"{number(found['batches'])} batches with {number(found['requests'])} requests ended"
    more = choice.csv_link("batch_endings")
    return card("Expiry and resubmission", html('<div class="sums even">{}</div>', shown),
                note=note, more=more)  # fmt: skip


def _rate(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.2f}%"


def fill(look: Look) -> Html:
    """Return how full batches were, model by model."""
    choice = choice_of(look.place, look.at)
    rows = batch_fill(look.reader, choice.filter, terms=look.site.terms)
    if not rows:
        return card("Batch fill", Html('<p class="muted">No batch was made in this time.</p>'))
    listed = join(
        html(
            '<li><div class="head"><span class="mono">{}</span><span class="muted nowrap">{}</span>'
            '</div>{}<span class="muted small">{}</span></li>',
            row["model"], f"{100 * (row['filled_share'] or 0):.1f}% full",
            bar(row["filled_share"] or 0, 1, label=f"{row['model']}: how full its batches were"),
            f"{number(row['batches'])} batches of {compact(row['mean_requests'])} requests and "
            f"{size(row['mean_bytes'])} on average · {number(row['closed_full'])} full, "
            f"{number(row['closed_by_time'])} closed by time",
        )
        for row in rows
    )  # fmt: skip
    return card(
        "Batch fill", html('<ul class="levels">{}</ul>', listed),
        note="what is nearest to its limit, on average", more=choice.csv_link("batch_fill"),
    )  # fmt: skip


def errors(look: Look) -> Html:
    """Return failed requests by error and model."""
    choice = choice_of(look.place, look.at)
    rows = errors_by_model(look.reader, choice.filter)
    if not rows:
        text = html('<p class="muted">{} No request has failed.</p>', icon("check"))
        return card("Errors", text)
    return card("Errors by model", _crossed(rows), note="failed requests",
                more=choice.csv_link("errors_by_model"))  # fmt: skip


def _crossed(rows: Sequence[Row]) -> Html:
    """Return codes down, models across; the more, the redder."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    of_model: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["error_code"]][row["model"]] += row["requests"]
        of_model[row["model"]] += row["requests"]
    models = sorted(of_model, key=lambda model: -of_model[model])[:_SHOWN_MODELS]
    most = max(max(each.values()) for each in counts.values())
    lines = [
        (
            html('<a class="mono" href="{}">{}</a>', link("requests", state="failed", error=code),
                 code),
            *(_heat(counts[code][model], most) for model in models),
            html("<b>{}</b>", number(sum(counts[code].values()))),
        )
        for code in sorted(counts, key=lambda code: -sum(counts[code].values()))
    ]  # fmt: skip
    return html(
        '<div class="crossed">{}</div>',
        figures(["Error", *models, "All"], lines, label="Failed requests by error and model"),
    )


def _heat(count: int, most: int) -> Html:
    if not count:
        return html('<span class="muted">0</span>')
    share = 0.08 + 0.3 * count / most
    return html('<span class="heat" style="--heat:{}">{}</span>', f"{share:.2f}", number(count))


def deliveries(look: Look) -> Html:
    """Return how attempts to deliver went, by destination."""
    choice = choice_of(look.place, look.at)
    rows = delivery_success(look.reader, choice.filter)
    if not rows:
        text = Html('<p class="muted">Nothing was pushed anywhere in this time.</p>')
        return card("Delivery success", text)
    listed = join(
        html(
            '<li><div class="head"><a class="mono" href="{}">{}</a><span class="muted nowrap">{}'
            '</span></div>{}<span class="muted small">{}</span></li>',
            link("deliveries", dest=row["target"]), row["target"],
            percent(row["succeeded"], row["attempts"]),
            bar(row["succeeded"], row["attempts"], label=f"Success at {row['target']}",
                tone=_tone(row["success_share"])),
            f"{number(row['attempts'])} attempts, {duration(row['mean_seconds'])} on average",
        )
        for row in rows[:8]
    )  # fmt: skip
    return card(
        "Delivery success", html('<ul class="levels">{}</ul>', listed),
        note="attempts that succeeded, the least first", more=choice.csv_link("delivery_success"),
    )  # fmt: skip


def _tone(share: float | None) -> Tone:
    if share is None or share >= _WELL_SHARE:
        return "success"
    return "warning" if share >= _FAIR_SHARE else "error"


_ESTIMATES: Final = Table(
    label="Estimated and actual tokens",
    row_id=lambda row: row["model"],
    columns=(
        Column(title="Model", kind="mono", cell=lambda row: row["model"]),
        Column(title="Requests", kind="number", cell=lambda row: number(row["requests"])),
        Column(title="Est. input", kind="number",
               cell=lambda row: compact(row["estimated_input_tokens"])),
        Column(title="Actual", kind="number", cell=lambda row: compact(row["input_tokens"])),
        Column(title="Ratio", kind="number", cell=lambda row: _ratio(row["input_share"])),
        Column(title="Exp. output", kind="number",
               cell=lambda row: compact(row["expected_output_tokens"])),
        Column(title="Actual", kind="number", cell=lambda row: compact(row["output_tokens"])),
        Column(title="Ratio", kind="number", cell=lambda row: _ratio(row["output_share"])),
    ),
)  # fmt: skip


def _ratio(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.2f}"


def estimates(look: Look) -> Html:
    """Return how near the estimates of tokens were to what was used."""
    choice = choice_of(look.place, look.at)
    rows = estimates_by_model(look.reader, choice.filter)
    if not rows:
        return EMPTY
    return html(
        '<div class="grid"><div class="row"><h2>Estimated and actual tokens</h2>'
        '<span class="muted small">actual by estimated; 1.00 is exact</span>'
        '<span class="grow"></span>{}</div>{}</div>',
        choice.csv_link("token_estimates"), table_html(_ESTIMATES, rows),
    )  # fmt: skip
