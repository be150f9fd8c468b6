"""Lists that are handed out page by page."""

from __future__ import annotations

from typing import Any

from simulator.api_errors import BAD_REQUEST, ApiError


def page_limit(text: str | None, *, default: int, longest: int) -> int:
    """Return how many objects a page may hold."""
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= longest:
        message = f"Invalid value for 'limit': it must be a whole number from 1 to {longest}."
        raise ApiError(BAD_REQUEST, message, param="limit", code="invalid_value")
    return int(text)


def list_object(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return a page of at most `limit` objects; one more was found if there are others."""
    data = found[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }
