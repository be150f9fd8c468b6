"""What the reading and acting routes answer, as the OpenAPI document shows it."""

from typing import Any, Final

from pydantic import BaseModel


class ErrorEntry(BaseModel):
    """One entry of `errors`."""

    code: str
    title: str
    detail: str
    source: dict[str, str] | None = None


class ErrorAnswer(BaseModel):
    """How every error is answered."""

    errors: list[ErrorEntry]


class Page(BaseModel):
    """Some of what was asked for, and where the rest begins."""

    items: list[dict[str, Any]]
    next: str | None
    """Cursor of the next page; null at the end."""


class Accepted(BaseModel):
    """What became of an action."""

    state: str | None = None
    requests: int = 0
    """How many requests it touched, or how many wait."""


class JobAccepted(BaseModel):
    """What became of an action on a job."""

    job: str | None
    requests: int
    later: int = 0
    """How many of them end with their batch only."""


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)
}
NDJSON: Final = "application/x-ndjson"
"""Lines of JSON, one result each."""
PARQUET: Final = "application/vnd.apache.parquet"
