"""The cards on the page of one job."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards.components.code import copy_button
from dashboards.components.notices import card, empty
from dashboards.components.table import Column, Table, table_html
from dashboards.components.timeline import facts
from dashboards.markup import EMPTY, Html, html, join
from dashboards.pages.job_words import rejected_address, results_address
from dashboards.places import link
from dashboards.theme import CHART_COLOURS, badge, bar, icon, stacked_bar
from dashboards.wording import (
    UNKNOWN,
    age,
    compact,
    count_of,
    duration,
    moment,
    money,
    number,
    percent,
    size,
)

Job = Mapping[str, Any]
_STATES: Final = ("pending", "batched", "succeeded", "failed", "cancelled")
_STATE_WORDS: Final[Mapping[str, str]] = {
    "pending": "Pending", "batched": "In batches", "succeeded": "Succeeded", "failed": "Failed",
    "cancelled": "Cancelled",
}  # fmt: skip
_LONGEST_RAW: Final = 2_000


def progress(job: Job) -> Html:
    """Return how many requests are in which state, each a link to them."""
    whole = job["requests"]
    ended = whole - job["open"]
    pieces = join(
        html(
            '<i style="width:{}%;background:{}"></i>',
            f"{100 * job[state] / whole:.2f}", CHART_COLOURS[state],
        )
        for state in reversed(_STATES)
        if whole and job[state]
    )  # fmt: skip
    counts = join(
        html(
            '<a href="{}"><span class="value">{}</span><span class="name">'
            '<i style="background:{}"></i>{}</span></a>',
            link("requests", job=job["name"], state=state), number(job[state]),
            CHART_COLOURS[state], _STATE_WORDS[state],
        )
        for state in _STATES
    )  # fmt: skip
    body = html(
        '<div class="stacked" role="img" aria-label="{}">{}</div><div class="strip five">{}</div>',
        f"{percent(ended, whole)} of the requests have ended",
        pieces,
        counts,
    )
    every = html(
        '<a class="button small" href="{}">View requests</a>', link("requests", job=job["name"])
    )
    note = f"{percent(ended, whole)} of {count_of(whole, 'request')} have ended"
    return card("Progress", body, note=note, more=every)


def about(job: Job) -> Html:
    """Return what is known of the job itself."""
    took = None
    if job["completed_at"] is not None:
        took = duration((job["completed_at"] - job["created_at"]).total_seconds())
    wait = job["max_wait_seconds"]
    pairs = [
        ("Created", moment(job["created_at"])),
        ("Completed", moment(job["completed_at"]) if job["completed_at"] else None),
        ("Took", took),
        ("Received", count_of(job["received"], "request")),
        ("Accepted", number(job["requests"])),
        ("Rejected", _rejected_fact(job)),
        ("Repeated", number(job["repeated"]) if job["repeated"] else None),
        ("Gathers for", None if wait is None else f"{duration(wait)} at most"),
        ("Results go to", _destination(job["delivery_config"])),
        ("Takes more", "yes, it never ends" if job["endless"] else None),
    ]
    return card("About", facts(pairs))


def _rejected_fact(job: Job) -> object:
    if not job["rejected"]:
        return "0"
    address = link("jobs", job["name"], tab="rejected")
    return html('<a href="{}">{}, see why</a>', address, number(job["rejected"]))


def _destination(config: object) -> Html:
    if not config:
        return html("files in <code>outbox/</code>")
    told = json.loads(config) if isinstance(config, str) else config
    kind = told.get("type", "?") if isinstance(told, dict) else "?"
    return html('<span class="kind">{}</span>', kind)


def cost(job: Job) -> Html:
    """Return what its share of the batches cost; what is not known is a dash, never 0."""
    models = job["models"]

    def tokens(name: str) -> str:
        known = [row[name] for row in models if row[name] is not None]
        return f"{compact(sum(known))} tokens" if known else UNKNOWN

    unpriced = job["unpriced_batches"]
    pairs = [
        ("Cost", html("<b>{}</b>", money(job["cost_usd"]))),
        ("At the synchronous price", money(job["synchronous_usd"])),
        ("Saved", money(job["saved_usd"])),
        ("Estimated input", tokens("estimated_tokens")),
        ("Actual input", tokens("input_tokens")),
        ("of it cached", tokens("cached_tokens")),
        ("Output", tokens("output_tokens")),
        ("of it reasoning", tokens("reasoning_tokens")),
    ]
    note = f"{count_of(unpriced, 'batch', 'batches')} without a known price" if unpriced else ""
    return card("Cost", facts(pairs), note=note)


def results(job: Job) -> Html:
    """Return where its results are to be had."""
    ended = job["requests"] - job["open"]
    if not ended:
        text = "Results are here as soon as its first batch is collected."
        return card("Results", html('<p class="muted">{}</p>', text))
    name, folder = job["name"], job["slug"]
    buttons = html(
        '<div class="row"><a class="button primary" href="{}" download="{}.jsonl">{} NDJSON</a>'
        '<a class="button" href="{}" download="{}.parquet">{} Parquet</a></div>',
        results_address(name), folder, icon("download"),
        results_address(name, parquet=True), folder, icon("download"),
    )  # fmt: skip
    text = f"{count_of(ended, 'result')} so far, in the order in which the requests came."
    return card(
        "Results",
        html('<p class="muted small said">{}</p>{}{}', text, buttons, _files(job["files"])),
    )


def _files(files: Sequence[Mapping[str, Any]]) -> Html:
    if not files:
        return EMPTY
    listed = join(
        html(
            '<li><code>{}</code><span class="muted small">{} · {} {}</span></li>',
            f"outbox/{one['folder']}/{one['file']}", count_of(one["results"], "result"),
            size(one["bytes"]),
            copy_button(f"outbox/{one['folder']}/{one['file']}", label="Copy the path"),
        )
        for one in files[:4]
    )  # fmt: skip
    return html(
        '<p class="small files-title">Delivered as files</p><ul class="plain files">{}</ul>', listed
    )


def delivery(job: Job) -> Html:
    """Return what became of its results on their way out."""
    counts = {
        "delivered": job["delivered"], "pending": job["undelivered"],
        "exhausted": job["exhausted"],
    }  # fmt: skip
    if not sum(counts.values()):
        text = "Results are delivered as soon as they are there."
        return card("Delivery", html('<p class="muted">{}</p>', text))
    dead = (
        html('<a class="button small" href="{}">Dead letters</a>',
             link("requests", job=job["name"], delivery="exhausted"))
        if job["exhausted"]
        else EMPTY
    )  # fmt: skip
    return card("Delivery", stacked_bar(counts, label="Results"), more=dead)


def errors(job: Job) -> Html:
    """Return why requests of it failed."""
    rows = job["errors"]
    if not rows:
        text = html('<p class="muted">{} No request of it has failed.</p>', icon("check"))
        return card("What failed", text)
    most = max(row["requests"] for row in rows)
    listed = join(
        html(
            '<li><div class="head"><a class="mono" href="{}">{}</a><span class="muted nowrap">{}{}'
            "</span></div>{}</li>",
            link("requests", job=job["name"], error=row["error_code"]),
            row["error_code"] or "unknown", number(row["requests"]),
            f" · {row['status_code']}" if row["status_code"] else "",
            bar(row["requests"], most, label=f"{row['error_code']}", tone="error"),
        )
        for row in rows[:6]
    )  # fmt: skip
    return card("What failed", html('<ul class="levels">{}</ul>', listed))


_MODELS: Final = Table(
    label="Models",
    row_id=lambda row: f"{row['model']} {row['endpoint']}",
    columns=(
        Column(title="Model", kind="mono", cell=lambda row: html(
            '{}<span class="sub">{}</span>', row["model"], row["endpoint"])),
        Column(title="Requests", kind="number", cell=lambda row: number(row["requests"])),
        Column(title="Succeeded", kind="number", cell=lambda row: number(row["succeeded"])),
        Column(title="Estimated input", kind="number",
               cell=lambda row: compact(row["estimated_tokens"])),
        Column(title="Actual input", kind="number", cell=lambda row: compact(row["input_tokens"])),
        Column(title="Output", kind="number", cell=lambda row: compact(row["output_tokens"])),
    ),
)  # fmt: skip


def models(job: Job) -> Html:
    """Return what it asked of which model."""
    return table_html(_MODELS, job["models"]) if job["models"] else EMPTY


def _source_state(row: Mapping[str, Any]) -> Html:
    if row["outcome"] == "taken_in":
        return badge("Taken in", "success")
    return badge(str(row["outcome"]).replace("_", " ").capitalize(), "warning", title=row["reason"])


_SOURCES: Final = Table(
    label="Sources",
    row_id=lambda row: f"{row['source_id']} {row['part']}",
    columns=(
        Column(title="Source", kind="wide", cell=lambda row: html(
            '<span class="job-name">{}</span><span class="sub mono">{}</span>', row["name"],
            row["source_id"])),
        Column(title="Outcome", cell=_source_state),
        Column(title="Size", kind="number", cell=lambda row: size(row["bytes"])),
        Column(title="Lines", kind="number", cell=lambda row: number(row["lines"])),
        Column(title="Accepted", kind="number", cell=lambda row: number(row["accepted"])),
        Column(title="Rejected", kind="number", cell=lambda row: number(row["rejected"])),
        Column(title="Repeated", kind="number", cell=lambda row: number(row["repeated"])),
        Column(title="Hash", kind="mono", cell=lambda row: html(
            '<span title="{}">{}</span>{}', row["content_hash"] or "none",
            (row["content_hash"] or UNKNOWN)[:10],
            copy_button(row["content_hash"], label="Copy the hash")
            if row["content_hash"] else EMPTY)),
        Column(title="Taken in", cell=lambda row: age(row["taken_in_at"])),
    ),
)  # fmt: skip


def sources(found: Sequence[Mapping[str, Any]]) -> Html:
    """Return what was taken in for the job."""
    if not found:
        text = "What comes in one by one over REST or RabbitMQ is no file of this job."
        return card("Sources", empty("No source", text, symbol="jobs"))
    return table_html(_SOURCES, found)


def _raw(row: Mapping[str, Any]) -> Html:
    text = row.get("raw")
    if text is None:
        return html('<span class="muted">not text: {}</span>', row.get("raw_base64", "")[:80])
    return html(
        '<details id="line-{}-{}" class="raw"><summary class="mono">{}</summary>'
        '<pre tabindex="0">{}</pre></details>',
        row["source"], row["line"], text[:60], text[:_LONGEST_RAW],
    )  # fmt: skip


_LINES: Final = Table(
    label="Rejected lines",
    row_id=lambda row: f"{row['source']} {row['line']}",
    columns=(
        Column(title="Line", kind="number", cell=lambda row: number(row["line"])),
        Column(title="Source", cell=lambda row: row["source"]),
        Column(title="Reason", kind="wide", cell=lambda row: html(
            '{}<span class="sub mono">{}</span>', row["reason"], row["code"])),
        Column(title="Text", kind="wide", cell=_raw),
    ),
)  # fmt: skip


def rejected(job: Job, lines: Sequence[Mapping[str, Any]]) -> Html:
    """Return the lines that were refused, with their reasons and their text."""
    if not job["rejected"]:
        text = "Every line that was brought is a request now."
        return card("Rejected lines", empty("No line was rejected", text, symbol="check"))
    if not lines:
        text = f"{count_of(job['rejected'], 'line')} were rejected, but are not kept any more."
        return card("Rejected lines", empty("Cleared away", text, symbol="jobs"))
    download = html(
        '<a class="button" href="{}" download="{}-rejected.jsonl">{} Download all</a>',
        rejected_address(job["name"]), job["slug"], icon("download"),
    )  # fmt: skip
    shown = f"The first {number(len(lines))} of {count_of(job['rejected'], 'line')}. Correct them "
    return html(
        '<div class="row"><p class="muted">{}</p><span class="grow"></span>{}</div>{}',
        shown + "and send them again as a file of their own.", download, table_html(_LINES, lines),
    )  # fmt: skip
