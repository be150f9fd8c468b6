"""What the demo says about each event, in words for somebody who sees it for the first time."""

from collections.abc import Mapping
from typing import Any

_Event = Mapping[str, Any]


def sentence_of(event: _Event) -> str | None:
    """Return a sentence about the event, or None if it is not worth one."""
    match event["entity"], event["event"]:
        case "source", "taken_in":
            return _taken_in(event)
        case "source", _:
            return f"{event['name']} was not taken in"
        case "batch", "submitted":
            return (
                f"batch {event['name']} is at the provider: {_requests(event)} for "
                f"{event['model']} ({event['endpoint']})"
            )
        case "batch", "collected":
            return _collected(event)
        case "job", "completed":
            return f"job {event['job']} is complete: every request is answered and delivered"
    return None


def _taken_in(event: _Event) -> str:
    refused = ""
    if event["failed"]:
        refused = f"; {event['failed']} bad lines are kept aside with their reasons"
    return f"{event['name']} is taken in: {_requests(event)}{refused}"


def _collected(event: _Event) -> str:
    answered = event["requests"] - (event["failed"] or 0) - (event["returned"] or 0)
    parts = [f"{answered:,} answered"]
    if event["failed"]:
        parts.append(f"{event['failed']} failed for good")
    if event["returned"]:
        parts.append(f"{event['returned']} go out again")
    return f"batch {event['name']} came back: {', '.join(parts)}"


def _requests(event: _Event) -> str:
    count = event["requests"]
    return "1 request" if count == 1 else f"{count:,} requests"
