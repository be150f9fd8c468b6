"""HTML in the one way that cannot be broken into: every value is escaped, unless it is HTML."""

from collections.abc import Iterable
from html import escape
from typing import Any, Self


class Html(str):
    """Text that is HTML already and is put in as it is."""

    __slots__ = ()

    def __add__(self, other: str) -> "Html":
        return Html(str.__add__(self, escaped(other)))

    def format(self, *values: object, **named: object) -> Self:
        """Return the text with escaped values in its places."""
        return type(self)(
            str.format(
                self,
                *(escaped(value) for value in values),
                **{name: escaped(value) for name, value in named.items()},
            )
        )


def escaped(value: object) -> Html:
    """Return the value as HTML; None is nothing."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else escape(str(value), quote=True))


def html(template: str, /, *values: object, **named: object) -> Html:
    """Return the template with escaped values in the places of `{}` and `{name}`."""
    return Html(template).format(*values, **named)


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Return the parts, escaped, one after the other."""
    return Html(escaped(separator).join(escaped(part) for part in parts))


def attributes(**named: Any) -> Html:
    """Return ` name="value"` for each that is neither None nor False; `_` becomes `-`.

    A trailing underscore is left out (`class_`), True is written without a value.
    """
    written = []
    for name, value in named.items():
        if value is None or value is False:
            continue
        word = name.rstrip("_").replace("_", "-")
        written.append(Html(f" {word}") if value is True else html(' {}="{}"', word, value))
    return join(written)


EMPTY = Html("")
