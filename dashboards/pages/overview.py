"""The first page: what came in, what was brought and saved, what waits, what needs somebody."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from dashboards.components.charts import bars, chart, figures, over_time, ring
from dashboards.components.code import code, curl
from dashboards.components.kpi import kpi
from dashboards.components.notices import card
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.pages.delivery_words import name_of
from dashboards.places import link
from dashboards.theme import CHART_COLOURS, Tone, bar, icon
from dashboards.wording import age, compact, count_of, duration, money, number, percent
from storage.reports.attention import attention_list
from storage.reports.buckets import Span
from storage.reports.outcomes import failures_by_code, outcomes_over_time, time_to_result
from storage.reports.overview import (
    dead_letters_tile,
    delivered_tile,
    enqueued_by_lane,
    pipeline_strip,
    received_tile,
    savings_tile,
)
from storage.reports.progress import requests_by_state

_CHART_DAYS: Final = 14
_BUCKET_SECONDS: Final = 6 * 3600
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
_SHOWN: Final = 5
_SHOWN_TODO: Final = 4
_NEARLY_FULL: Final = 0.9
_OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "delivered": ("Delivered", CHART_COLOURS["delivered"]),
    "delivering": ("Delivering", "#14b8a6"),
    "processing": ("In a batch", CHART_COLOURS["processing"]),
    "pending": ("Pending", CHART_COLOURS["pending"]),
    "delivery_failed": ("Delivery failed", CHART_COLOURS["exhausted"]),
    "failed": ("Failed", CHART_COLOURS["failed"]),
    "cancelled": ("Cancelled", CHART_COLOURS["cancelled"]),
}


def welcome(look: Look) -> Html:
    """Return how to send the first request, as long as there is none."""
    if requests_by_state(look.reader):
        return EMPTY
    settings = look.site.settings
    host = "localhost" if settings.host in _EVERYWHERE else settings.host
    address = f"http://{host}:{settings.port}/api/requests"
    body = (
        '{"custom_id": "first-1", "method": "POST", "url": "/v1/chat/completions", '
        '"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}}'
    )
    command = curl("POST", address, body, with_token=look.visitor.name != "local")
    return html(
        '<section class="card"><header><h2>Send your first requests</h2></header>'
        '<div class="grid two"><div>{}</div><div class="grid"><p><b>Or send one from a shell.</b> '
        "It is answered once it is safely stored; its result comes when its batch is done.</p>"
        '{}<p class="muted">Or put a file of requests into <code>{}</code>: one JSON object a '
        "line, as OpenAI describes for batches.</p></div></div></section>",
        drop_zone(), code(command, label="the command"), look.site.directory.inbox,
    )  # fmt: skip


def drop_zone() -> Html:
    """Return a place to drop a file of requests; the page that uploads takes it from there."""
    return html(
        '<label class="drop" data-drop="/ui/upload">{}<b>Drop a file of requests here</b>'
        '<span class="muted">.jsonl, .jsonl.gz, .jsonl.zst, .csv or .parquet — you see what it '
        'would cost before anything is sent</span><span class="button">Choose a file</span>'
        '<input class="unseen" type="file" accept=".jsonl,.gz,.zst,.csv,.parquet,.json"></label>',
        icon("upload"),
    )


def figures_tile(look: Look) -> Html:
    """Return the four figures with their curves."""
    return html(
        '<div class="kpis">{}{}{}{}</div>', _received(look), _delivered(look), _saved(look),
        _dead_letters(look),
    )  # fmt: skip


def _received(look: Look) -> Html:
    tile = received_tile(look.reader, at=look.at)
    share = tile["change_share"]
    note = "none the day before" if share is None else f"{share:+.1%} to the day before"
    return kpi(
        "Requests, 24 h", number(tile["received"]), note=note, series=_values(tile),
        colour="#3b82f6", href=link("requests", since="24h"),
    )  # fmt: skip


def _delivered(look: Look) -> Html:
    tile = delivered_tile(look.reader, at=look.at)
    total = tile["delivered"] + tile["waiting"] + tile["exhausted"] + tile["cancelled"]
    return kpi(
        "Results delivered", percent(tile["delivered"], total),
        note=f"{number(tile['waiting'])} waiting for delivery", series=_values(tile),
        colour="#10a37f", href=link("deliveries"),
    )  # fmt: skip


def _saved(look: Look) -> Html:
    tile = savings_tile(look.reader, at=look.at, terms=look.site.terms)
    unpriced = tile["unpriced_batches"]
    note = f"{money(tile['cost_usd'])} paid" if tile["batches"] else "no batch has ended yet"
    if unpriced:
        note = f"{note}, {count_of(unpriced, 'batch', 'batches')} without a price"
    return kpi(
        f"Saved in {tile['days']} days", money(tile["saved_usd"]), note=note, series=_values(tile),
        colour="#8b5cf6", href=link("analytics"),
    )  # fmt: skip


def _dead_letters(look: Look) -> Html:
    tile = dead_letters_tile(look.reader, at=look.at)
    failing = tile["failing_targets"]
    note = f"{count_of(failing, 'destination')} failing" if failing else "no destination fails"
    return kpi(
        "Dead letters", number(tile["dead_letters"]), note=note, series=_values(tile),
        colour="#ef4444", href=link("deliveries", outcome="exhausted"),
    )  # fmt: skip


def _values(tile: Mapping[str, Any]) -> list[float]:
    return [float(piece["value"] or 0) for piece in tile["series"]]


def pipeline_tile(look: Look) -> Html:
    """Return how many requests stand at each step now."""
    strip = pipeline_strip(look.reader, at=look.at)
    waiting = link("batches", tab="active") if strip["held_back"] else None
    steps: list[tuple[str, str, int, str, Tone]] = [
        ("Pending", "gathering for a batch", strip["pending"],
         link("requests", state="pending"), "neutral"),
        ("Waiting for capacity", f"of them {number(strip['held_back'])} held back in batches",
         strip["waiting_for_capacity"], waiting or link("requests", state="pending"),
         "warning"),
        ("Being sent", "in batches on their way to OpenAI", strip["being_sent"],
         link("batches", tab="active"), "info"),
        ("At OpenAI", count_of(strip["batches_at_provider"], "open batch", "open batches"),
         strip["at_provider"] + strip["being_collected"],
         link("batches", tab="active"), "info"),
        ("Delivering", "results on their way", strip["delivering"],
         link("deliveries", outcome="pending"), "info"),
        ("Delivered today", "since midnight UTC", strip["delivered_today"],
         link("deliveries", outcome="delivered"), "success"),
        ("Needs attention", "opens the gravest of those listed below", strip["needs_attention"],
         _gravest(look), "error"),
    ]  # fmt: skip
    most = max(value for _, _, value, _, _ in steps) or 1
    shown = join(_step(*step, most=most) for step in steps)
    return card("Pipeline now", html('<div class="strip">{}</div>', shown))


def _gravest(look: Look) -> str:
    found = attention_list(look.reader, at=look.at, most=1)
    return _target(found[0]) if found else link()


def _step(name: str, note: str, value: int, href: str, tone: Tone, *, most: int) -> Html:
    return html(
        '<a href="{}" title="{}"><span class="value">{}</span><span class="name">{}</span>{}</a>',
        href, f"{value:,} {name.lower()}: {note}", compact(value), name,
        bar(value, most, label=name, tone="primary" if tone == "success" else tone),
    )  # fmt: skip


def outcomes_tile(look: Look) -> Html:
    """Return what became of the requests of the last two weeks."""
    span = Span.ending(look.at, lasting=timedelta(days=_CHART_DAYS), bucket_seconds=_BUCKET_SECONDS)
    rows = outcomes_over_time(look.reader, span=span)
    if not any(row[name] for row in rows for name in _OUTCOMES):
        text = f"No request came in within {_CHART_DAYS} days."
        return card("Requests by outcome", html('<p class="muted">{}</p>', text))
    table = figures(
        ["From", *(words for words, _ in _OUTCOMES.values())],
        [
            [f"{row['starts_at']:%m-%d %H:%M}", *(number(row[name]) for name in _OUTCOMES)]
            for row in rows[-28:]
        ],
        label="Requests by outcome",
    )
    picture = chart(
        over_time(rows, _OUTCOMES), name="outcomes", label="Requests by outcome over time",
        table=table,
    )  # fmt: skip
    note = (
        f"by when they were accepted, {_CHART_DAYS} days in steps of 6 h; the running one is paler"
    )
    return card("Requests by outcome", picture, note=note, grows=True)


def capacity_tile(look: Look) -> Html:
    """Return the tokens at the provider against the limit, lane by lane."""
    lanes = enqueued_by_lane(look.reader, terms=look.site.terms)
    if not lanes:
        body = Html('<p class="muted">No model has been used yet.</p>')
    else:
        body = html('<ul class="levels">{}</ul>', join(_level(lane) for lane in lanes[:_SHOWN]))
    return card("Enqueued tokens per model", body, note="against the limit in force")


def _level(lane: Mapping[str, Any]) -> Html:
    used, limit = lane["enqueued_tokens"], lane["token_limit"]
    is_full = (lane["used_share"] or 0) >= _NEARLY_FULL
    text = f"{compact(used)} / {compact(limit) if limit else 'no limit known'}"
    waits = ""
    if lane["paused"]:
        waits = "paused"
    elif lane["wait_reason"] and lane["wait_reason"] != "filling":
        waits = f"waits: {lane['wait_reason']}"
    return html(
        '<li><div class="head"><span class="mono" title="{}">{}</span><span class="muted nowrap">'
        "{}{}</span></div>{}</li>",
        f"{lane['endpoint']} · {lane['account']}", lane["model"], f"{waits} · " if waits else "",
        text, bar(used, limit or max(used, 1) * 4, label=f"{lane['model']}: {text}",
                  tone="warning" if is_full else "primary"),
    )  # fmt: skip


_ATTENTION: Final[Mapping[str, tuple[str, Tone]]] = {
    "account_trouble": ("The provider refuses the account", "error"),
    "batch_failed": ("Batch {id} failed", "error"),
    "destination_disabled": ("{id} is disabled", "error"),
    "dead_letters": ("{id}: {count} results not delivered", "error"),
    "destination_failing": ("{id} is failing", "warning"),
    "batch_retried": ("Batch {id} is tried again", "warning"),
    "batch_resubmitted": ("{count} requests of batch {id} did not run and go again", "info"),
    "source_rejected": ("{count} lines of {subject} were rejected", "warning"),
    "oldest_waiting": ("{count} requests for {subject} wait for long", "warning"),
    "lane_waiting": ("{subject} waits", "warning"),
    "lane_paused": ("{subject} is paused", "info"),
    "target_paused": ("Paused: delivery to {id}", "info"),
    "job_paused": ("Job {subject} is paused", "info"),
}


def attention_tile(look: Look) -> Html:
    """Return what an operator should look at, the gravest first."""
    found = attention_list(look.reader, at=look.at)
    if not found:
        body = html(
            '<p class="muted">{} Nothing needs you: no batch failed, all destinations answer.</p>',
            icon("check"),
        )
    else:
        body = html("{}{}", _todos(found[:_SHOWN_TODO]), _more_todos(found[_SHOWN_TODO:]))
    return card("Needs attention", body)


def _todos(found: Sequence[Mapping[str, Any]]) -> Html:
    return html('<ul class="todo">{}</ul>', join(_todo(one) for one in found))


def _more_todos(found: Sequence[Mapping[str, Any]]) -> Html:
    if not found:
        return EMPTY
    return html(
        '<details id="more-todos"><summary>And {} more</summary>{}</details>',
        len(found), _todos(found),
    )  # fmt: skip


def _todo(one: Mapping[str, Any]) -> Html:
    words, tone = _ATTENTION.get(one["kind"], ("{subject}", "neutral"))
    identity = name_of(one["entity_id"]) if one["entity"] == "target" else one["entity_id"]
    title = words.format(id=identity, subject=one["subject"], count=number(one["count"]))
    return html(
        '<li><i class="dot is-{}"></i><div class="what"><a href="{}" title="{}">{}</a>'
        '<span class="muted" title="{}">{}</span></div><span class="when">{}</span></li>',
        tone, _target(one), title, title, one["text"], one["text"] or "",
        age(one["since"]) if one["since"] else "",
    )  # fmt: skip


def _target(one: Mapping[str, Any]) -> str:
    entity, identity = one["entity"], one["entity_id"]
    if entity == "batch":
        return link("batches", identity)
    if entity == "target":
        return link("deliveries", dest=identity)
    if entity == "job":
        return link("jobs", identity)
    if entity == "lane":
        return link("requests", state="pending", model=one["subject"])
    return link("jobs") if entity == "source" else link("settings")


def waits_tile(look: Look) -> Html:
    """Return how long requests took from acceptance to their end."""
    found = time_to_result(look.reader, since=look.at - timedelta(days=_CHART_DAYS), until=look.at)
    if not found["count"]:
        body = Html('<p class="muted">No request has ended in this time.</p>')
    else:
        pairs = [(_bucket_name(piece), piece["count"]) for piece in found["buckets"]]
        body = chart(
            bars(pairs, colour=CHART_COLOURS["histogram"], name="Requests"), name="waits",
            label="Requests by time to result", low=True,
            table=figures(["Time", "Requests"], [(name, number(n)) for name, n in pairs],
                          label="Requests by time to result"),
        )  # fmt: skip
    note = ""
    if found["count"]:
        half, most = duration(found["p50_seconds"]), duration(found["p90_seconds"])
        note = f"half within {half}, nine in ten within {most}"
    return card("Time to result", body, note=note)


def _bucket_name(piece: Mapping[str, Any]) -> str:
    upper = piece["to_seconds"]
    return "longer" if upper is None else f"≤ {duration(upper)}"


def failures_tile(look: Look) -> Html:
    """Return the failed requests by error."""
    rows = failures_by_code(
        look.reader, since=look.at - timedelta(days=_CHART_DAYS), until=look.at, most=7
    )
    if not rows:
        text = f"No request has failed in {_CHART_DAYS} days."
        return card("What failed", html('<p class="muted">{} {}</p>', icon("check"), text))
    parts = [
        {"name": row["error_code"], "value": row["requests"],
         "href": link("requests", q=f"state:failed error:{row['error_code']}")}
        for row in rows
    ]  # fmt: skip
    picture = chart(
        ring(parts, name="Failed requests"), name="failures", label="Failed requests by error",
        low=True, table=_failures(parts),
    )  # fmt: skip
    total = sum(row["requests"] for row in rows)
    return card("What failed", picture, note=f"{count_of(total, 'request')}, {_CHART_DAYS} days")


def _failures(parts: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (html('<a href="{}">{}</a>', part["href"], part["name"]), number(part["value"]))
        for part in parts
    ]
    return figures(["Error", "Requests"], rows, label="Failed requests by error")


PAGE: Final = Page(
    menu="overview",
    title="Overview",
    layout=Html(
        '<div class="page"><h1 class="unseen">Overview</h1><div data-tile="welcome"></div>'
        '<div data-tile="figures"></div><div data-tile="pipeline"></div>'
        '<div class="grid wide"><div data-tile="outcomes"></div>'
        '<div class="grid last-grows"><div data-tile="capacity"></div>'
        '<div data-tile="attention"></div></div></div><div class="grid two">'
        '<div data-tile="waits"></div><div data-tile="failures"></div>'
        "</div></div>"
    ),
    tiles={
        "welcome": welcome,
        "figures": figures_tile,
        "pipeline": pipeline_tile,
        "outcomes": outcomes_tile,
        "capacity": capacity_tile,
        "attention": attention_tile,
        "waits": waits_tile,
        "failures": failures_tile,
    },
)
