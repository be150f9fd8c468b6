"""The cards of one batch: what it is, where it is, what it costs, what became of its results."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.components.code import copied_as, copy_button
from dashboards.components.notices import card
from dashboards.components.timeline import facts
from dashboards.markup import EMPTY, Html, html, join
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
        ("Flow runs", _runs(site)),
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


def _runs(site: Site) -> Html | None:
    if site.prefect_url is None:
        return None
    return html(
        '<a href="{}/runs" target="_blank" rel="noopener">In Prefect {}</a>',
        site.prefect_url, icon("external", label="opens a new tab"),
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
    every = html(
        '<a class="button small" href="{}">View requests</a>', link("requests", batch=number_of)
    )
    return card("Requests", html("{}{}", listed, again), more=every)
