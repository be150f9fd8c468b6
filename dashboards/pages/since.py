"""Since when, as an address says it: `24h`, `7d`, or a moment."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

CHOICES: Final = (
    ("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "Last 30 days"),
)  # fmt: skip
_SPAN: Final = re.compile(r"(\d{1,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def since_of(text: str, *, at: datetime) -> datetime | None:
    """Return the moment that is meant, in UTC; None for none, and for what cannot be read."""
    if found := _SPAN.fullmatch(text.strip().lower()):
        return at - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):  # the second at both ends of the calendar
        return None
