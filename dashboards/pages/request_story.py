"""The way of one request: what has happened, each attempt to deliver, and what it waits for."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dashboards.components.timeline import Step
from dashboards.markup import EMPTY, Html, html
from dashboards.pages import batch_story
from dashboards.pages.request_words import target_words
from dashboards.places import link
from dashboards.theme import Tone
from dashboards.wording import UNKNOWN, age, compact, count_of, duration, number

Request = Mapping[str, Any]

_OUTCOMES: Final[Mapping[str, Tone]] = {"success": "success", "delivered": "success"}
_WAITS: Final[Mapping[str, str]] = {
    "filling": "It gathers with others of its model and goes after {longest} at the latest.",
    "capacity": "The provider has no room for more tokens of {model} now ({detail}).",
    "backoff": "The provider throttled {model}; it goes on {when}.",
    "budget": "The spending limit of the day would be passed.",
    "paused": "Sending for {model} is paused by an operator.",
    "account": "The provider refuses the account: {trouble}.",
}


def steps_of(request: Request) -> list[Step]:
    """Return what has happened to the request, oldest first, and what is expected of it."""
    return [*_past(request), *_ahead(request)]


def _past(request: Request) -> Iterator[Step]:
    came = f"job {request['job']} · {number(request['request_payload_size'])} bytes"
    yield Step(title="Accepted", at=request["created_at"], note=came)
    for one in request["retried"]:
        note = f"by {one['actor']}: {one['reason']}"
        yield Step(title="Sent again", at=one["happened_at"], note=note, tone="info")
    if request["returns"]:
        note = f"{count_of(request['returns'], 'time')} without having run, and is sent again"
        yield Step(title="Came back", note=note, tone="warning")
    yield from _in_batch(request["batch"])
    if request["state"] in {"succeeded", "failed", "cancelled"}:
        yield _end(request)
    for delivery in request["deliveries"]:
        yield from _delivery(delivery, request)
    if request["part"] is not None:
        yield _part(request["part"])


def _in_batch(batch: Mapping[str, Any] | None) -> Iterator[Step]:
    if batch is None:
        return
    to_batch = html('<a href="{0}">Batch {1}</a>', link("batches", batch["batch_id"]),
                    batch["batch_id"])  # fmt: skip
    yield Step(title="Batched", at=batch["planned_at"], note=to_batch)
    if batch["submitted_at"] is not None:
        sent = html("{} · {}", batch["provider_id"] or "", batch["provider_status"] or "")
        yield Step(title="Sent to the provider", at=batch["submitted_at"], note=sent)


def _end(request: Request) -> Step:
    state = request["state"]
    tones: dict[str, Tone] = {"succeeded": "success", "failed": "error"}
    said = [str(request["status_code"] or ""), request["error_code"] or ""]
    if request["output_tokens"] is not None:
        said.append(f"{number(request['output_tokens'])} output tokens")
    title = "Result received" if state == "succeeded" else state.capitalize()
    note = " · ".join(part for part in said if part)
    return Step(title=title, at=request["updated_at"], note=note, tone=tones.get(state, "warning"))


def _delivery(delivery: Mapping[str, Any], request: Request) -> Iterator[Step]:
    is_earlier = delivery["result_id"] != request["result_id"]
    before = "Earlier round, attempt" if is_earlier else "Delivery attempt"
    for one in delivery["tries"]:
        said = html(
            "{} → {} · {} ms{}", target_words(delivery["target"]),
            one["status_code"] or one["outcome"], number(one["duration_milliseconds"]),
            html('<span class="excerpt mono">{}</span>', one["excerpt"])
            if one["excerpt"] else EMPTY,
        )  # fmt: skip
        tone = _OUTCOMES.get(one["outcome"], "error")
        yield Step(title=f"{before} {one['number']}", at=one["attempted_at"], note=said, tone=tone)
    if delivery["state"] == "delivered" and not delivery["tries"]:
        yield Step(
            title="Delivered", at=delivery["finished_at"], note=target_words(delivery["target"])
        )
    if delivery["state"] == "exhausted":
        note = delivery["problem"] or "every attempt failed"
        yield Step(title="Given up: a dead letter", at=delivery["finished_at"], note=note,
                   tone="error")  # fmt: skip
    if delivery["state"] == "cancelled":
        note = delivery["problem"] or ""
        yield Step(title="Delivery given up", at=delivery["finished_at"], note=note,
                   tone="neutral")  # fmt: skip


def _part(part: Mapping[str, Any]) -> Step:
    if part["state"] == "delivered":
        file = "/".join(piece for piece in (part["folder"], part["file"]) if piece)
        note = html('<span class="mono">outbox/{}</span>', file) if file else EMPTY
        return Step(title="Written to the outbox", at=part["delivered_at"], note=note)
    note = html("{}", part["problem"] or "at the next run")
    tone: Tone = "error" if part["problem"] else "info"
    return Step(title="To be written to the outbox", note=note, tone=tone)


def _ahead(request: Request) -> Iterator[Step]:
    state = request["state"]
    if state == "pending":
        yield Step(title="Batched", note="next", tone="expected")
    if state == "pending" or (state == "batched" and not (request["batch"] or {}).get(
        "submitted_at"
    )):  # fmt: skip
        yield Step(title="Sent to the provider", tone="expected")
    if state in {"pending", "batched"}:
        yield Step(title="Result received", tone="expected")
        yield Step(title="Delivered", note=target_words(request["target"]), tone="expected")
        return
    for delivery in request["deliveries"]:
        if delivery["state"] == "pending":
            yield Step(
                title=f"Delivery attempt {delivery['attempts'] + 1}",
                note=_next_try(delivery), tone="expected",
            )  # fmt: skip


def _next_try(delivery: Mapping[str, Any]) -> Html:
    if delivery["disabled_at"] is not None:
        return html("held: the destination is disabled ({})", delivery["disabled_because"])
    if delivery["paused_at"] is not None:
        return html("held: the target is paused since {}", age(delivery["paused_at"], kind="for"))
    at = _later(delivery["next_attempt_at"], delivery["open_until"])
    when = age(at, kind="in") if at else "at the next run"
    return html("to {}, {}", target_words(delivery["target"]), when)


def _later(*moments: datetime | None) -> datetime | None:
    known = [moment for moment in moments if moment is not None]
    return max(known, default=None)


def why_waiting(request: Request) -> tuple[Html, Tone, Html] | None:
    """Return why the request does not move on, how grave that is, and where to change it."""
    waiting = request["waiting"]
    if waiting is None:
        return _undelivered(request["deliveries"])
    if waiting["of"] == "batch":
        told, tone, more = batch_story.why_waiting(waiting)
        number_ = request["batch_id"]
        to_batch = html('<a class="button small" href="{}">Batch {}</a>',
                        link("batches", number_), number_)  # fmt: skip
        return html("{}", told), tone, html("{}{}", more, to_batch)
    return _in_lane(request, waiting)


def _in_lane(request: Request, waiting: Mapping[str, Any]) -> tuple[Html, Tone, Html]:
    if waiting.get("job_paused"):
        text = html("<b>Why waiting?</b> The job {} is paused.", request["job"])
        return (
            text,
            "warning",
            html('<a class="button small" href="{}">Job</a>', link("jobs", request["job"])),
        )
    reason = waiting.get("wait_reason") or "filling"
    until = waiting.get("backoff_until")
    text = html(
        "<b>Why waiting?</b> " + _WAITS.get(reason, "It waits."), model=request["model"],
        longest=duration(waiting["max_wait_seconds"]), detail=waiting.get("wait_detail"),
        when=age(until, kind="in") if until else "soon", trouble=waiting.get("trouble"),
    )  # fmt: skip
    if reason == "filling":
        return text, "info", EMPTY
    settings = html('<a class="button small" href="{}">Settings</a>', link("settings"))
    return text, "error" if reason == "account" else "warning", settings


def _undelivered(deliveries: Sequence[Mapping[str, Any]]) -> tuple[Html, Tone, Html] | None:
    """Return why a result that is there is not delivered."""
    for delivery in reversed(deliveries):
        if delivery["state"] == "exhausted":
            text = html(
                "<b>Not delivered.</b> All {} attempts to {} failed: {}. Redeliver tries again.",
                delivery["attempts"], target_words(delivery["target"]), delivery["problem"],
            )  # fmt: skip
            return text, "error", EMPTY
        if delivery["state"] == "pending" and delivery["attempts"]:
            text = html(
                "<b>Why waiting?</b> The last attempt failed ({}): again {}.",
                delivery["problem"] or delivery["outcome"], _next_try(delivery),
            )  # fmt: skip
            return text, "warning", EMPTY
    return None


def tokens(count: int | None) -> str:
    """Return a count of tokens in few digits."""
    return UNKNOWN if count is None else f"{compact(count)} tokens"
