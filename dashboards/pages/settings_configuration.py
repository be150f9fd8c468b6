"""The effective configuration, read-only: every setting, where it comes from, no secrets."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.settings import Settings
from batching.settings_in_force import (
    NamesSet,
    SettingInForce,
    settings_in_force,
    variable_of,
)
from dashboards.components.filters import chips, choice, clear_link, search_form
from dashboards.components.notices import card, empty
from dashboards.components.table import Column, Table, table_html
from dashboards.markup import Html, html, join
from dashboards.page import Look
from dashboards.theme import badge
from dashboards.wording import duration

_DAY_SECONDS: Final = 86_400
_CADENCE: Final = {
    "interval_ingest_seconds": "Take requests in", "interval_submit_seconds": "Submit batches",
    "interval_track_seconds": "Ask about batches", "interval_deliver_seconds": "Deliver results",
    "interval_upkeep_seconds": "Back up, tidy up", "batch_max_wait_seconds": "A batch waits up to",
    "poll_min_seconds": "Two polls of a batch, at least",
    "poll_max_seconds": "Two polls of a batch, at most",
}  # fmt: skip
_RETRY: Final = {
    "max_attempts": "A request runs at most", "max_returns": "Comes back unrun at most",
    "capacity_backoff_seconds": "First pause after a refusal",
    "capacity_backoff_max_seconds": "Longest pause after refusals",
    "results_grace_seconds": "Unreadable results are retried for",
    "disable_failing_days": "A failing destination is given up after",
}  # fmt: skip
_RETENTION: Final = {
    "keep_requests_days": "Requests and results", "keep_batches_days": "Files of batches",
    "keep_archive_days": "Archive of intake", "keep_rejected_days": "Rejected lines",
    "keep_outbox_days": "Results in the outbox", "keep_audit_days": "Audit trail",
    "keep_backups": "Backups of the ledger",
}  # fmt: skip
_WORDS: Final = {"q": "Search:", "source": "From:"}


def rules(look: Look) -> Html:
    """Return how often things happen, how often they are tried, and how long they are kept."""
    settings = look.site.settings
    groups = {
        "Cadence": (_CADENCE, "at the latest; new work is noticed at once"),
        "Retries": (_RETRY, ""),
        "Retention": (_RETENTION, "after that, upkeep deletes it"),
    }
    cards = join(
        card(title, html('<dl class="rules">{}</dl>', _pairs(settings, names)), note=note)
        for title, (names, note) in groups.items()
    )
    return html('<div class="grid three">{}</div>', cards)


def _pairs(settings: Settings, names: Mapping[str, str]) -> Html:
    return join(
        html(
            '<div><dt>{}</dt><dd title="{}">{}</dd></div>',
            words,
            variable_of(name),
            _said(name, getattr(settings, name)),
        )
        for name, words in names.items()
    )


def _said(name: str, value: float) -> str:
    if name.endswith("_seconds"):
        return duration(value) if value else "at once"
    if name.endswith("_days"):
        if not value:
            return "never" if name.startswith("disable") else "for ever"
        return duration(value * _DAY_SECONDS)
    if name == "keep_backups":
        return f"the last {value:,.0f}"
    return f"{value:,.0f} times"


def configuration(look: Look) -> Html:
    """Return the settings in force that match the filter."""
    place = look.place
    found = settings_in_force(look.site.settings, NamesSet.now())
    text, source = place.get("q").lower(), place.get("source")
    shown = [
        setting
        for setting in found
        if (not source or setting.source == source)
        and text in f"{setting.variable} {setting.value} {setting.description}".lower()
    ]
    form = search_form(
        place, label="Search settings", hint="Name or meaning of a setting",
        choices=choice(place, "source", "From", _sources(found), every="From anywhere"),
        names=("source",),
    )  # fmt: skip
    body = (
        table_html(TABLE, [{"setting": setting} for setting in shown])
        if shown
        else html(
            '<section class="card">{}</section>',
            empty("Nothing matches", "No setting matches.", symbol="search",
                  more=clear_link(place, list(_WORDS))),
        )
    )  # fmt: skip
    return html(
        '<div class="grid"><h2>Effective configuration</h2><p class="muted small">As this web '
        "process has read it; <code>obm config</code> shows the same. Change the environment or "
        "<code>.env</code> and restart. Secrets are masked.</p>{}{}{}</div>",
        form, chips(place, _WORDS), body,
    )  # fmt: skip


def _sources(found: Sequence[SettingInForce]) -> list[tuple[str, str]]:
    return [(name, _SOURCES[name]) for name in _SOURCES if any(s.source == name for s in found)]


_SOURCES: Final = {"environment": "environment", ".env": ".env", "default": "default"}


def _source(row: Mapping[str, Any]) -> Html:
    source = row["setting"].source
    return badge(_SOURCES[source], "neutral" if source == "default" else "info")


def _value(row: Mapping[str, Any]) -> Html:
    if not row["setting"].value:
        return Html('<span class="muted">not set</span>')
    return html('<span class="mono">{}</span>', row["setting"].value)


TABLE: Final = Table(
    label="Settings in force",
    row_id=lambda row: row["setting"].variable,
    columns=(
        Column(title="Setting", kind="wide", cell=lambda row: html(
            '<span class="mono">{}</span><span class="sub">{}</span>',
            row["setting"].variable, row["setting"].description)),
        Column(title="Value", kind="wide", cell=_value),
        Column(title="From", cell=_source),
    ),
)  # fmt: skip
