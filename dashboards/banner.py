"""What is said above all pages: what is paused or locked and, on narrow screens, who is unwell."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dashboards.components.notices import notice
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.places import link
from dashboards.theme import Tone, badge, icon
from dashboards.wording import age, count_of
from storage.health import Health, read_health
from storage.intake_gate import read_pause
from storage.reports.switches import held_back
from storage.submission_lock import submission_lock

_ROLES: Final[Mapping[str, str]] = {
    "pipeline": "Pipeline", "web": "REST API", "consumer": "RabbitMQ intake",
}  # fmt: skip
"""The dashboard's own role is not here: who reads this is answered by it."""
_UNWELL: Final = frozenset({"failing", "waiting", "stopped"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleState:
    """How another process is, in words and colour."""

    words: str
    tone: Tone
    details: str


def role_states(look: Look) -> list[RoleState]:
    """Return how each process is that was ever started here."""
    known = [
        (words, read_health(look.site.directory.health, role)) for role, words in _ROLES.items()
    ]
    return [_state(look, words, health) for words, health in known if health is not None]


def health_chips(look: Look) -> Html:
    """Return a chip for each process; narrow screens have no room for them."""
    return join(badge(state.words, state.tone, title=state.details) for state in role_states(look))


def banner_html(look: Look) -> Html:
    """Return what everybody should know before he wonders why nothing moves."""
    return html("{}{}{}{}", _locked(look), _intake(look), _held(look), _unwell(look))


def _state(look: Look, words: str, health: Health) -> RoleState:
    if not health.is_fresh(look.at):
        details = f"last heard of {_details(health, health.written_at)}"
        return RoleState(words=f"{words} down", tone="error", details=details)
    details = f"{health.state} since {_details(health, health.since)}"
    if health.state in _UNWELL:
        return RoleState(words=f"{words}: {health.state}", tone="warning", details=details)
    return RoleState(words=words, tone="success", details=details)


def _details(health: Health, moment: datetime) -> str:
    answers = ", ".join(
        f"{system} answered {at:%H:%M:%S}" for system, at in health.last_answers.items()
    )
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC. {health.message or ''} {answers}".strip()


def _locked(look: Look) -> Html:
    lock = submission_lock(look.reader)
    if lock is None:
        return EMPTY
    text = html(
        "<b>Nothing is sent.</b> {}. The pipeline sweeps by itself and again until it succeeds; "
        "<code>obm sweep</code> does it now and shows what stands in the way. If none of your "
        "requests is in that, <code>obm sweep --unlock</code> ends the lock.",
        lock.sentence,
    )
    return notice(text, tone="error")


def _intake(look: Look) -> Html:
    pause = read_pause(look.site.directory)
    if pause is None:
        return EMPTY
    why = f": {pause.reason}" if pause.reason else ""
    resume = Html(
        '<button type="button" class="button small" data-act="resume-intake">Resume intake</button>'
    )
    return html(
        '<div class="notice is-warning" role="status">{}<span class="grow">Intake is paused by {} '
        "since {}{}. New requests are refused.</span>{}</div>",
        icon("pause"), pause.actor, age(pause.since, kind="for"), why,
        resume if look.visitor.may_operate else EMPTY,
    )  # fmt: skip


def _held(look: Look) -> Html:
    held = held_back(look.reader)
    told = []
    if held["lanes"]:
        told.append(html("submission of {}", count_of(held["lanes"], "model")))
    if held["jobs"]:
        jobs = count_of(held["jobs"], "job")
        told.append(html('<a href="{}">{}</a>', link("jobs", tab="paused"), jobs))
    if held["targets"]:
        told.append(html("delivery to {}", count_of(held["targets"], "destination")))
    if not told:
        return EMPTY
    return html(
        '<div class="notice is-warning" role="status">{}<span class="grow">Paused: {}. What waits '
        'there keeps waiting.</span><a class="button small" href="{}">Settings</a></div>',
        icon("pause"), join(told, ", "), link("settings"),
    )  # fmt: skip


def _unwell(look: Look) -> Html:
    found = [state for state in role_states(look) if state.tone != "success"]
    return join(
        html(
            '<div class="notice is-{} unwell" role="status"><span class="grow"><b>{}</b>, {}'
            "</span></div>",
            state.tone, state.words, state.details,
        )
        for state in found
    )  # fmt: skip
