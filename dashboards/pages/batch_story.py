"""The way of one batch: what has happened, what is expected, and what it waits for now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dashboards.components.timeline import Step
from dashboards.markup import EMPTY, Html, html
from dashboards.places import link
from dashboards.theme import Tone
from dashboards.wording import age, compact, duration

_WAY: Final = (
    ("planned", "Planned", "planned_at"),
    ("uploaded", "Uploaded", "uploaded_at"),
    ("submitted", "Created", "submitted_at"),
    ("in_progress", "Running", "in_progress_at"),
    ("ended", "Ended", "ended_at"),
    ("collected", "Collected", "finished_at"),
)
"""The steps of a batch to which nothing happens: state, word, column with its time."""

_EVENTS: Final[Mapping[str, tuple[str, Tone]]] = {
    "planned": ("Planned", "neutral"),
    "uploaded": ("Uploaded", "info"),
    "submitting": ("Create intended", "info"),
    "submitted": ("Created at the provider", "info"),
    "ended": ("Ended at the provider", "info"),
    "collected": ("Collected", "success"),
    "failed": ("Failed", "error"),
    "cancelled": ("Cancelled", "warning"),
    "cancel_requested": ("Cancel requested", "warning"),
    "lane_flushed": ("Asked to send now", "info"),
    "restarted": ("Restarted", "info"),
    "files_deleted": ("Files deleted", "neutral"),
}


def past_and_expected(batch: Mapping[str, Any]) -> list[Step]:
    """Return the steps of the batch side by side: past ones with the time between, then grey."""
    done = [(word, batch[column]) for _, word, column in _WAY if batch[column] is not None]
    if batch["state"] in {"failed", "cancelled"}:
        ends: Tone = "error" if batch["state"] == "failed" else "warning"
        past = [step for step in done if step[0] != "Collected"]
        last = Step(
            title=batch["state"].capitalize(), at=batch["finished_at"] or batch["ended_at"],
            tone=ends,
        )  # fmt: skip
        return [*_told(past), last]
    reached = {word for word, _ in done}
    ahead = [word for _, word, _ in _WAY if word not in reached]
    is_over = batch["state"] == "collected"
    now = [] if is_over else [Step(title=word, tone="info", note="next") for word in ahead[:1]]
    later = [] if is_over else [Step(title=word, tone="expected") for word in ahead[1:]]
    return [*_told(done), *now, *later]


def _told(done: Sequence[tuple[str, datetime]]) -> list[Step]:
    told = []
    before: datetime | None = None
    for word, at in done:
        seconds = 0.0 if before is None else (at - before).total_seconds()
        note = f"after {duration(seconds)}" if seconds >= 1 else ""
        told.append(Step(title=word, at=at, note=note))
        before = at
    return told


def transitions_told(transitions: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return everything in the batch's audit trail, in its order, with who did it and why."""
    return [_transition(row) for row in transitions]


def _transition(row: Mapping[str, Any]) -> Step:
    word, tone = _EVENTS.get(row["target"], (row["target"].replace("_", " "), "neutral"))
    if row["source"] == "submitted" and row["target"] == "uploaded":
        word, tone = "Refused for its tokens, waits for room", "warning"
    who = "" if row["actor"] == "pipeline" else f"by {row['actor']}"
    note = " · ".join(part for part in (row["reason"], who) if part)
    return Step(title=word, at=row["happened_at"], note=note, tone=tone)


def why_waiting(waiting: Mapping[str, Any]) -> tuple[Html, Tone, Html]:
    """Return why a batch does not move on, how grave that is, and where to change it."""
    words = _WHY.get(waiting["reason"], "It waits.")
    when = waiting["not_before"] or waiting["backoff_until"]
    told = html(
        "<b>Why waiting?</b> " + words,
        trouble=waiting["trouble"], tries=waiting["failures"], message=waiting["fault_message"],
        tokens=compact(waiting["tokens"]), others=compact(waiting["enqueued_by_others"]),
        limit=compact(waiting["token_limit"]), source=_SOURCES.get(waiting["limit_source"], ""),
        status=waiting["provider_status"] or "submitted", model=waiting["model"],
        when=age(when, kind="in") if when else Html("at the next look"),
        checked=_next_check(waiting["next_poll_at"]),
    )  # fmt: skip
    return told, _TONES.get(waiting["reason"], "info"), _remedy(waiting)


def _next_check(at: datetime | None) -> Html:
    return EMPTY if at is None else html("Next check {}.", age(at, kind="in"))


_WHY: Final[Mapping[str, str]] = {
    "account": "The provider refuses the account: {trouble}. It is tried again by itself.",
    "cancelling": "It is being cancelled; what was answered already is collected.",
    "paused": "Sending for {model} is paused by an operator.",
    "retry": "It failed {tries} times ({message}) and is tried again {when}.",
    "backoff": "The provider had no room for it; it is tried again {when}.",
    "capacity": (
        "It needs {tokens} tokens; other batches of {model} hold {others} of the {limit} that may "
        "be enqueued ({source})."
    ),
    "provider": "The provider works on it ({status}): up to 24 hours. {checked}",
}
_SOURCES: Final[Mapping[str, str]] = {
    "operator": "a cap that an operator has set", "override": "set in the environment",
    "learned": "as the provider has said", "table": "OpenAI's figure for tier 1",
}  # fmt: skip
_TONES: Final[Mapping[str, Tone]] = {
    "account": "error", "paused": "warning", "retry": "warning", "backoff": "warning",
    "capacity": "warning", "cancelling": "warning",
}  # fmt: skip


def _remedy(waiting: Mapping[str, Any]) -> Html:
    if waiting["reason"] in {"backoff", "capacity"}:
        address = link("settings", tab="limits", model=waiting["model"])
        return html('<a class="button small" href="{}">Token limits</a>', address)
    if waiting["reason"] in {"account", "paused"}:
        return html('<a class="button small" href="{}">Settings</a>', link("settings"))
    return EMPTY
