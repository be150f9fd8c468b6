"""What reading routes share: bounded parameters, cursors, and a view of the ledger."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import AfterValidator

from receivers.answers import ApiError, api_error, invalid_parameter
from receivers.context import WebContext
from storage.inquiries import check_schema
from storage.ledger import Ledger, Transaction
from storage.snapshots import snapshot

_LARGEST_INTEGER: Final = 2**31 - 1
_LONGEST: Final = 2_000


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the NUL character")
    return value


def _in_utc(value: datetime) -> datetime:
    """Return the moment with its zone; one without is in UTC."""
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


Text = Annotated[str, AfterValidator(_without_nul)]
Word = Annotated[Text | None, Query(max_length=_LONGEST)]
"""A filter."""
Name = Annotated[Text, Path(max_length=_LONGEST)]
Number = Annotated[int, Path(ge=1, le=_LARGEST_INTEGER)]
NumberFilter = Annotated[int | None, Query(ge=1, le=_LARGEST_INTEGER)]
BigNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Since = Annotated[Moment | None, Query()]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Cursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]


@contextmanager
def reading(context: WebContext) -> Iterator[Transaction | None]:
    """Yield a view of the ledger, at most a second old; None before anything was taken in."""
    if not context.directory.ledger.exists():
        yield None
        return
    with snapshot(context.directory, max_age_seconds=1.0) as reader:
        check_schema(reader)
        yield reader


def writing(context: WebContext) -> Ledger:
    """Return the ledger to act on; ApiError 404 before anything was taken in."""
    if not context.directory.ledger.exists():
        raise not_found("nothing has been taken in here yet")
    return Ledger.open(context.directory, memory_bytes=context.settings.ledger_memory_bytes)


def not_found(detail: str, *, title: str = "Not Found") -> ApiError:
    """Return the answer for what is not there."""
    return api_error(404, "not_found", title, detail)


def encode_cursor(*numbers: int) -> str:
    """Return the opaque text of a place."""
    text = ".".join(map(str, numbers)).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode_cursor(cursor: str | None, *, name: str, numbers: int) -> tuple[int, ...] | None:
    """Return the place behind a cursor, None for none; ApiError 422 if it is not one of ours."""
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = tuple(int(part) for part in text.decode("ascii").split("."))
    except (ValueError, binascii.Error):
        found = ()
    if len(found) != numbers or any(abs(number) > 2**63 - 1 for number in found):
        raise invalid_parameter(name, "is no cursor that was handed out here")
    if numbers > 1 and any(abs(number) > _LARGEST_INTEGER for number in found):
        raise invalid_parameter(name, "is no cursor that was handed out here")
    return found


def page(rows: list[dict[str, Any]], limit: int, *key: str) -> dict[str, Any]:
    """Return the first `limit` rows and the cursor of the rest (one row more was asked for)."""
    items = rows[:limit]
    more = len(rows) > limit
    return {"items": items, "next": encode_cursor(*(items[-1][k] for k in key)) if more else None}
