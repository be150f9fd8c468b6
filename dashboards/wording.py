"""Figures, sizes, money and times as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

from dashboards.markup import EMPTY, Html, html

UNKNOWN = "\N{EN DASH}"
_THOUSAND = 1000
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3600
_DAY_SECONDS = 86_400


def number(value: float | None) -> str:
    """Return `12,345`, or a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Return three digits at most: `1.7M`, `69.7k`, `812`."""
    if value is None:
        return UNKNOWN
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{_short(value / size)}{unit}"
    return f"{value:,.0f}"


def size(value_bytes: float | None) -> str:
    """Return `7.45 MB`."""
    if value_bytes is None:
        return UNKNOWN
    value = float(value_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _THOUSAND:
            return f"{value:.0f} B" if unit == "B" else f"{_short(value)} {unit}"
        value /= _THOUSAND
    return f"{_short(value)} TB"


def money(value_usd: Decimal | float | None) -> str:
    """Return `$1,284.10`; small sums with four digits, an unknown one as a dash, never as 0."""
    if value_usd is None:
        return UNKNOWN
    amount = Decimal(value_usd)
    is_small = Decimal(0) < abs(amount) < Decimal(1)
    sign = "\N{MINUS SIGN}" if amount < 0 else ""
    return f"{sign}${abs(amount):,.4f}" if is_small else f"{sign}${abs(amount):,.2f}"


def percent(part: float | None, whole: float | None) -> str:
    """Return `97.6%`, or a dash if there is no whole."""
    if part is None or not whole:
        return UNKNOWN
    share = 100 * part / whole
    return "100%" if part == whole else f"{min(share, 99.9):.1f}%"


def duration(seconds: float | None) -> str:
    """Return the two greatest units: `2 d 4 h`, `3 min 5 s`, `840 ms`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    rest = int(seconds)
    words = []
    for unit, length in (("d", _DAY_SECONDS), ("h", _HOUR_SECONDS), ("min", _MINUTE_SECONDS)):
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count} {unit}")
    words += [f"{rest} s"] if rest or not words else []
    return " ".join(words[:2])


def age(moment: datetime | None, *, kind: str = "ago") -> Html:
    """Return a `<time>` that the browser keeps up to date: `14m ago`, exact in its title.

    `kind` is `ago`, `for` (how long already) or `in` (how long still).
    """
    if moment is None:
        return EMPTY if kind != "ago" else Html(UNKNOWN)
    moment = moment.astimezone(UTC)
    return html(
        '<time datetime="{}" data-age="{}" title="{}">{}</time>',
        moment.isoformat(timespec="seconds"), kind, f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        f"{moment:%Y-%m-%d %H:%M}",
    )  # fmt: skip


def moment(value: datetime | None) -> Html:
    """Return a `<time>` that the browser shows in its own zone, with UTC in its title."""
    if value is None:
        return Html(UNKNOWN)
    value = value.astimezone(UTC)
    return html(
        '<time datetime="{}" data-age="at" title="{}">{}</time>',
        value.isoformat(timespec="seconds"), f"{value:%Y-%m-%d %H:%M:%S} UTC",
        f"{value:%Y-%m-%d %H:%M}",
    )  # fmt: skip


def count_of(value: int, singular: str, plural: str | None = None) -> str:
    """Return `1 request` or `12,345 requests`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def _short(value: float) -> str:
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0  # noqa: PLR2004 - three digits
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
