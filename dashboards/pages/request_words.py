"""Requests in words: states, deliveries, what can be done to them and what follows from it."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.components.confirm import Question
from dashboards.components.table import Action
from dashboards.markup import EMPTY, Html, html
from dashboards.theme import Tone, badge
from dashboards.wording import count_of

Request = Mapping[str, Any]

_STATES: Final[Mapping[str, tuple[str, Tone]]] = {
    "pending": ("Pending", "neutral"),
    "batched": ("In a batch", "info"),
    "succeeded": ("Succeeded", "success"),
    "failed": ("Failed", "error"),
    "cancelled": ("Cancelled", "neutral"),
}
_DELIVERIES: Final[Mapping[str, tuple[str, Tone]]] = {
    "pending": ("To deliver", "info"),
    "delivered": ("Delivered", "success"),
    "exhausted": ("Dead letter", "error"),
    "cancelled": ("Given up", "neutral"),
}
_WAITS: Final[Mapping[str, str]] = {
    "filling": "gathers",
    "capacity": "no capacity",
    "backoff": "backs off",
    "budget": "budget is spent",
    "paused": "paused",
    "account": "account refused",
}
UNSETTLED: Final = frozenset({"pending", "batched"})
ENDED_BADLY: Final = frozenset({"failed", "cancelled"})


def state_badge(request: Request) -> Html:
    """Return where a request stands, in words and colour."""
    state = request["state"]
    if request["cancel_requested"] and state in UNSETTLED:
        return badge("Cancel requested", "warning", title="A result that still comes is kept")
    words, tone = _STATES.get(state, (state, "neutral"))
    return badge(words, tone, title=state)


def state_note(request: Request) -> str:
    """Return what is to be known beside the state: the error, or what a pending one waits for."""
    if request["state"] == "pending":
        reason = request["wait_reason"]
        return _WAITS.get(reason, reason or "")
    return request["error_code"] or ""


def delivery_badge(request: Request) -> Html:
    """Return where the result of a request stands on its way; nothing before there is one."""
    state = request["delivery_state"]
    if state is None:
        return EMPTY
    words, tone = _DELIVERIES.get(state, (state, "neutral"))
    tries = request["delivery_attempt_count"]
    if state == "pending" and tries:
        words, tone = f"Retrying ({tries})", "warning"
    return badge(words, tone, title=f"delivery {state}, {count_of(tries, 'attempt')}")


def target_words(target: str) -> str:
    """Return where a result goes, in few letters: `webhook example.com`, `rabbitmq results`."""
    kind, _, name = target.partition(":")
    host = name.removeprefix("https://").removeprefix("http://")
    return f"{kind} {host.removesuffix(':443').removesuffix(':80')}".strip()


def possible_deeds(request: Request) -> list[Action]:
    """Return what an operator can do to a request now, the most likely first."""
    found = []
    state, delivery = request["state"], request["delivery_state"]
    is_pushed = request["kind"] != "file"
    if is_pushed and delivery in {"delivered", "exhausted"}:
        found.append(
            Action(
                act="redeliver", words="Redeliver",
                kind="primary" if delivery == "exhausted" else "",
            )
        )  # fmt: skip
    if state in ENDED_BADLY and request["result_id"] is not None:
        found.append(Action(act="again", words="Run again", kind="" if found else "primary"))
    if state in UNSETTLED or (is_pushed and delivery in {"pending", "exhausted"}):
        found.append(Action(act="edit", words="Edit delivery"))
    if state in UNSETTLED and not request["cancel_requested"]:
        found.append(Action(act="cancel", words="Cancel", kind="risky"))
    return found


def question_about(kind: str, count: int, *, name: str | None = None) -> Question:
    """Return the question before a deed: what is done to how many, and what follows."""
    what = f"request {name}" if name is not None else count_of(count, "request")
    title, verb, text, danger = _QUESTIONS[kind]
    plural = "request" if count == 1 else "requests"
    offer = _DELIVERED_TOO if kind == "redeliver" and name is None else EMPTY
    return Question(
        title=title.format(what=what), text=html("<p>{}</p>", text), danger=danger, fields=offer,
        verb=verb.format(plural=plural), keep="Keep it" if count == 1 else "Keep them",
    )  # fmt: skip


_QUESTIONS: Final = {
    "cancel": (
        "Cancel {what}?",
        "Cancel {plural}",
        (
            "What waits ends at once. What is in a batch is asked to stop with it; a result that "
            "still comes is paid, kept and delivered. What has ended stays as it is."
        ),
        True,
    ),
    "again": (
        "Run {what} again?",
        "Run again",
        (
            "Failed and cancelled ones go into a new batch; their earlier results are kept. What "
            "failed may be paid a second time. What succeeded or has not ended stays as it is."
        ),
        False,
    ),
    "redeliver": (
        "Redeliver {what}?",
        "Redeliver",
        (
            "Results are pushed to their destination again, with the same idempotency key. Results "
            "in files are there already."
        ),
        False,
    ),
}
_DELIVERED_TOO: Final = Html(
    '<label class="row"><input type="checkbox" name="delivered"> '
    "also those that were delivered already</label>"
)
