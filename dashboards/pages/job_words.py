"""Jobs in words: where they stand, what can be done to them, and what follows from it."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from dashboards.components.confirm import Question
from dashboards.components.table import Action
from dashboards.markup import Html, html, join
from dashboards.theme import badge, bar
from dashboards.wording import UNKNOWN, count_of, money, number, percent

Job = Mapping[str, Any]

_KINDS: Final[Mapping[str, str]] = {"file": "File", "rest": "REST", "rabbitmq": "RabbitMQ"}
AT_ONCE: Final = frozenset({"pause", "resume", "send"})
"""What is done without asking first, because it can be taken back or was meant anyway."""


def state_badge(job: Job) -> Html:
    """Return where a job stands, in words and colour."""
    if job["paused"]:
        return badge("Paused", "warning", title="what waits is held back")
    if job["exhausted"]:
        return badge("Delivery failed", "error", title=f"{job['exhausted']:,} dead letters")
    if job["open"]:
        return badge("Running", "info", title=f"{job['open']:,} without a result yet")
    if job["undelivered"]:
        return badge("Delivering", "info", title=f"{job['undelivered']:,} results on their way")
    return _ended_badge(job)


def _ended_badge(job: Job) -> Html:
    if not job["requests"]:
        return badge("Empty", "neutral", title="nothing of it was accepted")
    if job["failed"]:
        return badge("Done, some failed", "warning", title=f"{job['failed']:,} failed")
    return badge("Done", "success")


def kinds(job: Job) -> Html:
    """Return by which doors its requests came."""
    if not job["kinds"]:
        return Html(UNKNOWN)
    return join(
        (
            html('<span class="kind">{}</span>', _KINDS.get(kind, kind))
            for kind in job["kinds"]
        ),
        " ",
    )  # fmt: skip


def done(job: Job) -> Html:
    """Return how much of it has a result or has ended without one."""
    whole = job["requests"]
    ended = whole - job["open"]
    text = f"{percent(ended, whole)} of {number(whole)}" if whole else UNKNOWN
    tone = "error" if job["exhausted"] else "warning" if job["paused"] else "primary"
    return html(
        '<span class="sub nowrap">{}</span>{}', text,
        bar(ended, whole, label=f"Done: {text}", tone=tone),  # type: ignore[arg-type]  # one of its tones
    )  # fmt: skip


def cost(job: Job) -> Html:
    """Return what it has cost and saved; what is not known is a dash, never 0."""
    unpriced = job["unpriced_batches"]
    note = f"saved {money(job['saved_usd'])}" if job["saved_usd"] is not None else ""
    if unpriced:
        note = f"{count_of(unpriced, 'batch', 'batches')} without a price"
    return html('{}<span class="sub nowrap">{}</span>', money(job["cost_usd"]), note)


def results_address(job: str, *, parquet: bool = False) -> str:
    """Return where the results of a job are to be had."""
    return f"/api/jobs/{quote(job, safe='')}/results{'?format=parquet' if parquet else ''}"


def rejected_address(job: str) -> str:
    """Return where the refused lines of a job are to be had."""
    return f"/api/jobs/{quote(job, safe='')}/rejected"


def row_actions(job: Job) -> list[Action]:
    """Return what an operator will most likely do to a job, at most two things."""
    found = []
    if job["paused"]:
        found.append(Action(act="resume", words="Resume", kind="primary"))
    elif job["pending"] and not _is_flushed(job):
        found.append(Action(act="send", words="Send now", kind="primary"))
    if job["exhausted"]:
        found.append(Action(act="redeliver", words="Redeliver failed"))
    if job["open"]:
        if not job["paused"]:
            found.append(Action(act="pause", words="Pause"))
        found.append(Action(act="cancel", words="Cancel", kind="risky"))
    return found[:2]


def all_actions(job: Job) -> list[Action]:
    """Return everything that an operator can do to a job now."""
    found = []
    if job["pending"] and not job["paused"] and not _is_flushed(job):
        found.append(Action(act="send", words="Send now", kind="primary"))
    if job["paused"]:
        found.append(Action(act="resume", words="Resume", kind="primary"))
    elif job["open"] or job["endless"]:
        found.append(Action(act="pause", words="Pause"))
    if job["exhausted"]:
        found.append(Action(act="redeliver", words="Redeliver failed", kind="primary"))
    if job["pushed"]:
        found.append(Action(act="redeliver-all", words="Redeliver all"))
    if job["failed"]:
        found.append(Action(act="retry-failed", words="Retry failed"))
    if job["open"]:
        found.append(Action(act="cancel", words="Cancel pending", kind="risky"))
    return found


def _is_flushed(job: Job) -> bool:
    return job["flush_requested_at"] is not None and bool(job.get("flush_covers_all"))


def question_about(kind: str, job: Job) -> Question:
    """Return the question before a deed is done to a job: how many it is about, what follows."""
    name = job["name"]
    title, verb, keep, danger = _QUESTIONS[kind]
    return Question(
        title=title.format(name=name),
        text=html("<p>{}</p>", _consequence(kind, job)),
        verb=verb, keep=keep, danger=danger,
    )  # fmt: skip


_QUESTIONS: Final[Mapping[str, tuple[str, str, str, bool]]] = {
    "cancel": ("Cancel what is left of {name}?", "Cancel requests", "Keep them", True),
    "redeliver": ("Redeliver what failed of {name}?", "Redeliver failed", "Not now", False),
    "redeliver-all": ("Redeliver everything of {name}?", "Redeliver all", "Not now", False),
    "retry-failed": ("Retry what failed of {name}?", "Retry failed", "Not now", False),
}


def _consequence(kind: str, job: Job) -> str:
    if kind == "cancel":
        return (
            f"{count_of(job['pending'], 'request')} that wait here end as cancelled at once. "
            f"{count_of(job['batched'], 'request')} in batches are cancelled with them; what "
            "OpenAI has answered by then is paid, kept and delivered. Finished ones stay."
        )
    if kind == "redeliver":
        return (
            f"{count_of(job['exhausted'], 'result')} that were given up are brought again. What "
            "was delivered is not sent twice."
        )
    if kind == "redeliver-all":
        return (
            f"{count_of(job['pushed'], 'result')} are pushed again to their destinations, also "
            "those that have arrived: who receives them must know their ids. Files are not touched."
        )
    return (
        f"{count_of(job['failed'], 'failed request')} wait for a new batch. OpenAI is paid for "
        "them again if it runs them. Their earlier results are kept."
    )
