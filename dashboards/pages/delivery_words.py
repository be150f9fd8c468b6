"""Deliveries in words: states, causes, how a destination fares, and the questions before deeds."""

from collections.abc import Mapping
from typing import Any, Final

from dashboards.components.confirm import Question
from dashboards.markup import EMPTY, Html, html
from dashboards.theme import Tone, badge
from dashboards.wording import age, count_of

_CAUSES: Final[Mapping[str, str]] = {
    "success": "Delivered",
    "authorization_error": "Not authorised",
    "http_status_not_2xx": "Error status",
    "gone": "Gone (410)",
    "throttled": "Throttled",
    "timeout": "Timeout",
    "connection_error": "No connection",
    "address_not_allowed": "Address not allowed",
    "not_accepted": "Not accepted",
    "exchange_not_found": "No such exchange",
    "queue_not_found": "No such queue",
    "refused_by_broker": "Refused by the broker",
    "rabbitmq_not_configured": "RabbitMQ not configured",
    "destination_unknown": "Destination unknown",
    "other": "Other",
}
CAUSES_OF_FAILURE: Final = tuple(
    (name, words) for name, words in _CAUSES.items() if name != "success"
)
KINDS: Final[Mapping[str, str]] = {"webhook": "Webhook", "rabbitmq": "RabbitMQ", "named": "Named"}
_USUAL_PORTS: Final[Mapping[str, str]] = {"https": ":443", "http": ":80"}
_STATES: Final[Mapping[str, tuple[str, Tone]]] = {
    "pending": ("Waiting", "info"),
    "delivered": ("Delivered", "success"),
    "exhausted": ("Dead letter", "error"),
    "cancelled": ("Given up", "neutral"),
}
_GRAVE: Final = frozenset({"gone", "authorization_error", "destination_unknown"})


def cause_words(outcome: str | None) -> str:
    """Return what an attempt came to, in words."""
    return _CAUSES.get(outcome, outcome) if outcome else "Not tried"


def cause_badge(outcome: str | None, status_code: int | None = None) -> Html:
    """Return what an attempt came to, in words and colour."""
    words = cause_words(outcome)
    if status_code and outcome != "success":
        words = f"{words} {status_code}" if str(status_code) not in words else words
    tone: Tone = "success" if outcome == "success" else "warning"
    if outcome in _GRAVE:
        tone = "error"
    return badge(words, tone if outcome else "neutral", title=outcome)


def delivery_badge(state: str) -> Html:
    """Return where a delivery stands, in words and colour."""
    words, tone = _STATES.get(state, (state, "neutral"))
    return badge(words, tone, title=state)


def target_badge(target: Mapping[str, Any]) -> Html:
    """Return how a destination fares, with what happens next."""
    if target["disabled_at"]:
        return _with_note(
            badge("Disabled", "error", title=target["disabled_because"]),
            html("since {}", age(target["disabled_at"], kind="for")),
        )
    if target["paused_at"]:
        return _with_note(
            badge("Paused", "neutral"), html("since {}", age(target["paused_at"], kind="for"))
        )
    if target["breaker"] == "open":
        return _with_note(
            badge("Left alone", "error", title="it failed too often in a row"),
            html("tried again {}", age(target["open_until"], kind="in")),
        )
    if target["failing_since"] or target["breaker"] == "half_open":
        since = target["failing_since"]
        note = html("for {}", age(since, kind="for")) if since else EMPTY
        return _with_note(badge("Failing", "warning"), note)
    return badge("Working", "success")


def name_of(target: str) -> str:
    """Return a target without its kind, which stands beside it, and without a usual port."""
    kind, _, name = target.partition(":")
    if kind not in KINDS or not name:
        return target
    port = _USUAL_PORTS.get(name.partition("://")[0], "")
    return name.removesuffix(port)


def redeliver_question(count: int, whose: str) -> Question:
    """Return the question before dead letters are brought again."""
    results = count_of(count, "result")
    return Question(
        title=f"Redeliver {results}?",
        text=html(
            "<p>{} that could not be delivered{} will be brought again, with new attempts. What "
            "has been delivered is not sent twice. A disabled destination among them is enabled."
            "</p>",
            results, whose,
        ),
        verb="Redeliver", keep="Not now",
    )  # fmt: skip


def discard_question(count: int, whose: str) -> Question:
    """Return the question before dead letters are discarded: the count has to be typed."""
    results = count_of(count, "result")
    return Question(
        title=f"Discard {results}?",
        text=html(
            "<p>{} that could not be delivered{} are given up for good: they will never be sent, "
            "and upkeep may delete them.</p>",
            results, whose,
        ),
        fields=html(
            '<label class="field">Type {0} to confirm<input type="text" name="count" required '
            'pattern="{0}" inputmode="numeric" autocomplete="off"></label>',
            count,
        ),
        verb=f"Discard {results}", keep="Keep them", danger=True,
    )  # fmt: skip


def since_question(whose: str) -> Question:
    """Return the question since when dead letters are to be brought again."""
    return Question(
        title="Redeliver since a time",
        text=html(
            "<p>Dead letters{} whose result was there since this time are brought again. What has "
            "been delivered is not sent twice.</p>",
            whose,
        ),
        fields=Html(
            '<label class="field">Since (UTC)<input type="datetime-local" name="since" required>'
            "</label>"
        ),
        verb="Redeliver", keep="Not now",
    )  # fmt: skip


def _with_note(mark: Html, note: Html) -> Html:
    return html('{}<span class="sub nowrap">{}</span>', mark, note) if note else mark
