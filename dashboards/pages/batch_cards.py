"""The cards of one batch: what it is, where it is, what it costs, what became of its results."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from dashboards.components.code import copied_as, copy_button
from dashboards.components.notices import card
from dashboards.components.table import Column, Table, table_html
from dashboards.components.timeline import facts
from dashboards.markup import EMPTY, Html, html, join
from dashboards.pages.request_words import delivery_badge, state_badge, state_note
from dashboards.places import link
from dashboards.site import Site
from dashboards.theme import icon, stacked_bar
from dashboards.wording import UNKNOWN, age, compact, count_of, moment, money, number, size
from storage.batch_files import batch_files_here

_MOST_JOBS: Final = 5
Batch = Mapping[str, Any]


def fault(batch: Batch) -> Html:
    """Return the error that ended or delayed the batch, in the provider's words."""
    said = batch["fault_message"] or batch["fault_code"]
    if not said:
        return EMPTY
    body = html(
        '<p>{}</p><p class="muted small">Code <span class="mono">{}</span></p>',
        said, batch["fault_code"] or "none given",
    )  # fmt: skip
    return card("Error", body, more=copied_as(str(said), words="Copy"))


def about(batch: Batch, site: Site) -> Html:
    """Return what the batch is."""
    pairs = [
        ("Model", html('<span class="mono">{}</span>', batch["model"])),
        ("Endpoint", html('<span class="mono">{}</span>', batch["endpoint"])),
        ("Jobs", _jobs(batch)),
        ("Requests", number(batch["requests"])),
        ("Input file", size(batch["bytes"])),
        ("Closed because", batch["closed_because"]),
        ("Planned", moment(batch["planned_at"])),
        ("Last checked", age(batch["last_polled_at"]) if batch["last_polled_at"] else None),
        ("Account", batch["account"]),
        ("Its runs", _runs(batch, site)),
    ]
    return card("About", facts(pairs))


def _jobs(batch: Batch) -> Html | None:
    links = [
        html('<a href="{}">{}</a>', link("jobs", row["job"]), row["job"])
        for row in batch["jobs"][:_MOST_JOBS]
    ]
    more = len(batch["jobs"]) - _MOST_JOBS
    if not links:
        return None
    return html("{}{}", join(links, ", "), f" and {more} more" if more > 0 else "")


def _runs(batch: Batch, site: Site) -> Html | None:
    """Return where Prefect shows the task runs of this batch, each with the flow run it was in.

    Both of its interfaces look for a part of a run's name; the colon keeps batch 12 from 120.
    """
    if site.prefect_url is None:
        return None
    search = urlencode({"tab": "task-runs", "task-run-search": f"batch {batch['batch_id']}:"})
    return html(
        '<a href="{}/runs?{}" target="_blank" rel="noopener">In Prefect {}</a>',
        site.prefect_url, search, icon("external", label="opens a new tab"),
    )  # fmt: skip


def provider(batch: Batch, site: Site) -> Html:
    """Return what the provider calls it and says of it, with the files to download."""
    answered = (batch["provider_completed"] or 0) + (batch["provider_failed"] or 0)
    total = batch["provider_total"]
    pairs = [
        ("Batch id", _provider_id(batch["provider_id"], is_openai=site.settings.is_openai)),
        ("Status", batch["provider_status"] or "not there yet"),
        ("Answered", f"{number(answered)} of {number(total)}" if total else None),
        ("Create attempts", number(batch["create_attempt"]) if batch["create_attempt"] else None),
        *_files(batch, site),
    ]
    return card("At the provider", facts(pairs))


def _provider_id(provider_id: str | None, *, is_openai: bool) -> Html | None:
    if provider_id is None:
        return None
    name = html('<span class="mono">{}</span>', provider_id)
    if is_openai:
        name = html(
            '<a class="mono" href="https://platform.openai.com/batches/{}" target="_blank" '
            'rel="noopener noreferrer">{} {}</a>',
            provider_id, provider_id, icon("external", label="opens a new tab"),
        )  # fmt: skip
    return html("{} {}", name, copy_button(provider_id, label="Copy the provider's id"))


def _files(batch: Batch, site: Site) -> list[tuple[str, Html | None]]:
    here = batch_files_here(site.directory, batch["batch_id"])
    return [
        (f"{kind.capitalize()} file", _file(batch, kind, here.get(kind)))
        for kind in ("input", "output", "error")
    ]


def _file(batch: Batch, kind: str, size_bytes: int | None) -> Html | None:
    provider_name = batch[f"{kind}_file_id"]
    name = html('<span class="mono small">{}</span>', provider_name) if provider_name else EMPTY
    if size_bytes is None:
        return name or None
    return html(
        '{} <a class="nowrap" href="/api/batches/{}/files/{}" download>{} Download, {}</a>',
        name, batch["batch_id"], kind, icon("download"), size(size_bytes),
    )  # fmt: skip


def cost(batch: Batch) -> Html:
    """Return its tokens and what they cost; what is not known is a dash, never 0."""
    paid = batch["money"]
    ratio = paid["actual_to_estimated"]
    pairs = [
        ("Estimated input", _tokens(batch["tokens"])),
        ("Actual input", _tokens(batch["input_tokens"])),
        ("of it cached", _tokens(batch["cached_tokens"])),
        ("Output", _tokens(batch["output_tokens"])),
        ("of it reasoning", _tokens(batch["reasoning_tokens"])),
        ("Actual / estimated", UNKNOWN if ratio is None else f"{ratio:.2f}"),
        ("Expected cost", money(paid["expected_cost_usd"])),
        ("Cost", money(paid["cost_usd"])),
        ("At the synchronous price", money(paid["synchronous_usd"])),
        ("Saved", money(paid["saved_usd"])),
    ]
    is_unknown = paid["input_usd_per_million"] is None
    note = "no price is known for this model" if is_unknown else f"prices of {paid['prices_as_of']}"
    return card("Tokens and cost", facts(pairs), note=note)


def _tokens(count: int | None) -> str:
    return UNKNOWN if count is None else f"{compact(count)} tokens"


def delivery(batch: Batch) -> Html:
    """Return what became of its results on their way out."""
    counts = batch["deliveries"]
    if not sum(counts.values()):
        text = "Its results are delivered as soon as it is collected."
        return card("Delivery", html('<p class="muted">{}</p>', text))
    return card("Delivery", stacked_bar(counts, label="Results"))


def requests(batch: Batch) -> Html:
    """Return its requests by state, with links to them."""
    number_of = batch["batch_id"]
    listed = facts(
        (
            state.capitalize(),
            html(
                '<a href="{}">{}</a>',
                link("requests", batch=number_of, state=state), number(count),
            ),
        )
        for state, count in batch["request_states"].items()
    )  # fmt: skip
    again = (
        html(
            '<p class="muted small">{} did not run and went back to wait for another batch.</p>',
            count_of(batch["returned"], "request"),
        )
        if batch["returned"]
        else EMPTY
    )
    return card("Requests", html("{}{}", listed, again))


def first_requests(batch: Batch) -> Html:
    """Return the batch's first requests as a table, with a link to all of them."""
    rows = batch["first_requests"]
    if not rows:
        return EMPTY
    count = sum(batch["request_states"].values())
    words = "View it" if count == 1 else f"All {number(count)}"
    every = html(
        '<a class="button small" href="{}">{}</a>', link("requests", batch=batch["batch_id"]), words
    )
    failed = batch["request_states"].get("failed", 0)
    address = link("requests", batch=batch["batch_id"], state="failed")
    only_failed = (
        html('<a class="button small" href="{}">{} failed</a>', address, number(failed))
        if failed
        else EMPTY
    )
    return html(
        '<div class="grid"><div class="page-head"><h2>First requests</h2><span class="grow">'
        "</span>{}{}</div>{}</div>",
        only_failed, every, table_html(FIRST_REQUESTS, rows),
    )  # fmt: skip


def _name(request: Batch) -> Html:
    name, address = request["custom_id"], link("requests", request["id"])
    return html('<a class="request-id" href="{}" title="{}">{}</a>', address, name, name)


def _status(request: Batch) -> Html:
    said = request["status_code"] or UNKNOWN
    note = state_note(request)
    more = html('<span class="sub cut">{}</span>', note) if note else EMPTY
    return html("{}{}", said, more)


FIRST_REQUESTS: Final = Table(
    label="First requests",
    row_id=lambda request: request["id"],
    row_link=lambda request: link("requests", request["id"]),
    columns=(
        Column(title="Custom ID", kind="mono", cell=_name),
        Column(title="State", cell=state_badge),
        Column(title="Status", cell=_status),
        Column(title="Delivery", cell=delivery_badge),
        Column(title="Updated", kind="number", cell=lambda request: age(request["updated_at"])),
    ),
)
