"""Batches in words: states, why they wait, what can be done to them and what follows from it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from batching.lifecycle import FINAL_BATCH_STATES, BatchState
from dashboards.components.confirm import Question
from dashboards.components.table import Action
from dashboards.markup import EMPTY, Html, html
from dashboards.theme import Tone, badge
from dashboards.wording import age, count_of, number

_STATES: Final[Mapping[str, tuple[str, Tone]]] = {
    "planned": ("Preparing", "neutral"),
    "uploaded": ("Uploaded", "info"),
    "submitting": ("Submitting", "info"),
    "submitted": ("At OpenAI", "info"),
    "ended": ("Collecting", "info"),
    "collected": ("Collected", "success"),
    "failed": ("Failed", "error"),
    "cancelled": ("Cancelled", "neutral"),
}
_CANCELLABLE: Final = frozenset({"planned", "uploaded", "submitting", "submitted"})


def state_badge(batch: Mapping[str, Any]) -> Html:
    """Return where a batch stands, in words and colour."""
    state = batch["state"]
    words, tone = _STATES.get(state, (state, "neutral"))
    title = f"{state}; at OpenAI: {batch.get('provider_status') or 'not there'}"
    if batch.get("cancel_requested") and BatchState(state) not in FINAL_BATCH_STATES:
        return badge("Cancel requested", "warning", title=title)
    if state == "collected" and batch.get("exhausted"):
        return badge("Delivery failed", "error", title=title)
    if state == "collected" and batch.get("failed"):
        return badge("Collected, some failed", "warning", title=title)
    return badge(words, tone, title=title)


def waiting_words(batch: Mapping[str, Any]) -> Html:
    """Return why a batch does not move on, or what became of it; nothing if all is plain."""
    if BatchState(batch["state"]) in FINAL_BATCH_STATES:
        return _ending(batch)
    until = age(batch["not_before"], kind="in") if batch["not_before"] else Html("now")
    if batch["failures"]:
        return html("Backoff, try {}, next {}", batch["failures"] + 1, until)
    if batch["token_refusals"] and batch["state"] == "uploaded":
        return html("No room for its tokens, again {}", until)
    return html("{}", batch["provider_status"] if batch["state"] == "submitted" else "")


def _ending(batch: Mapping[str, Any]) -> Html:
    if batch["state"] == "failed":
        return html("{}", batch["fault_message"] or batch["fault_code"] or "")
    if batch.get("exhausted"):
        return html("{} dead letters", number(batch["exhausted"]))
    if batch.get("returned"):
        return html("{} did not run and go again", number(batch["returned"]))
    return EMPTY


def batch_actions(batch: Mapping[str, Any]) -> list[Action]:
    """Return what an operator can do to a batch now, the most likely first."""
    state, found = batch["state"], []
    if state == "failed" and batch.get("failed") != 0:  # 0: its requests went on in pieces
        found.append(Action(act="restart", words="Restart", kind="primary"))
    if batch.get("exhausted"):
        found.append(Action(act="redeliver", words="Redeliver failed", kind="primary"))
    if state in _CANCELLABLE and not batch["cancel_requested"]:
        found.append(Action(act="cancel", words="Cancel", kind="risky"))
    if BatchState(state) in FINAL_BATCH_STATES and not found:
        found.append(Action(act="forget", words="Delete files", kind="risky"))
    return found


def question_about(kind: str, batches: Sequence[Mapping[str, Any]]) -> Question:
    """Return the question before a deed is done to batches: what, how many, what follows."""
    possible = _possible(kind, batches)
    requests = count_of(sum(batch["requests"] for batch in possible), "request")
    verb, title, danger = _QUESTIONS[kind]
    text = _consequence(kind, batches, requests)
    return Question(
        title=title.format(what=_named(batches, possible)), text=html("<p>{}</p>", text),
        verb=verb.format(noun="batch" if len(batches) == 1 else "batches"),
        keep="Keep it" if len(batches) == 1 else "Keep them", danger=danger,
    )  # fmt: skip


def _possible(kind: str, batches: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the batches to which the deed can be done; what is not known here is tried."""
    wanted = _WHEN.get(kind)
    return [batch for batch in batches if wanted is None or batch["state"] in wanted]


def _named(batches: Sequence[Mapping[str, Any]], possible: Sequence[Mapping[str, Any]]) -> str:
    if len(batches) == 1:
        return f"batch {batches[0]['batch_id']}"
    if len(possible) == len(batches):
        return f"{len(batches):,} batches"
    return f"{len(possible):,} of {len(batches):,} batches"


_WHEN: Final[Mapping[str, Collection[str]]] = {
    "cancel": _CANCELLABLE,
    "forget": frozenset(state.value for state in FINAL_BATCH_STATES),
}
_QUESTIONS: Final = {
    "cancel": ("Cancel {noun}", "Cancel {what}?", True),
    "restart": ("Restart {noun}", "Restart {what}?", False),
    "redeliver": ("Redeliver failed", "Redeliver what failed of {what}?", False),
    "forget": ("Delete files", "Delete the files of {what}?", True),
}


def _consequence(kind: str, batches: Sequence[Mapping[str, Any]], requests: str) -> str:
    if kind == "cancel":
        return _cancelled(batches)
    if kind == "restart":
        return (
            f"Up to {requests} that failed with the batch go into a new one. If OpenAI ran some "
            "of them before it was lost, those are paid a second time."
        )
    if kind == "redeliver":
        dead = sum(batch.get("exhausted") or 0 for batch in batches)
        return (
            f"{count_of(dead, 'result')} that were given up are brought again. What was delivered "
            "is not sent twice."
        )
    return (
        f"The copies of input, output and error files ({requests}) are deleted from this "
        "machine. Results and what was delivered stay."
    )


def _cancelled(batches: Sequence[Mapping[str, Any]]) -> str:
    possible = _possible("cancel", batches)
    done = sum(
        (batch["provider_completed"] or 0) + (batch["provider_failed"] or 0) for batch in possible
    )
    left = sum(batch["requests"] for batch in possible) - done
    skipped = len(batches) - len(possible)
    sentences = ["OpenAI is asked to stop."]
    if left:
        sentences.append(f"{count_of(left, 'request')} will not run and end as cancelled.")
    if done:
        sentences.append(f"{count_of(done, 'request')} already answered: paid, kept, delivered.")
    if skipped:
        ended = count_of(skipped, "batch", "batches")
        sentences.append(f"Left alone, because already ended: {ended}.")
    return " ".join(sentences)
