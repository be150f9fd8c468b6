"""The part of the page that changes: HTML in named tiles, of which only what differs is sent."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import param
from panel.custom import JSComponent

_LATE_SECONDS: Final = 5.0
"""So long a browser may take to show something before it is sent once more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What somebody did on a board."""

    action: str
    """The `data-act` of the button, or of the form that was sent."""
    id: str = ""
    """The `data-id` of the row or element around it."""
    selected: tuple[str, ...] = ()
    """The rows that are ticked in the same table."""
    all_matching: bool = False
    """Whether all that match the filter are meant, not only the ticked rows."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The fields of the form."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Event":
        """Return the event that the browser describes."""
        return cls(
            action=str(raw.get("action", "")),
            id=str(raw.get("id") or ""),
            selected=tuple(str(name) for name in raw.get("selected", ())),
            all_matching=bool(raw.get("all")),
            values={str(name): str(value) for name, value in raw.get("values", {}).items()},
        )


class Board(JSComponent):
    """Shows a layout whose elements with `data-tile` are filled with the tile of that name.

    What the browser has not confirmed is sent again with what comes next: of two changes soon after
    one another Bokeh may deliver the last alone, and a page that is being drawn sees no other.
    """

    content = param.Dict(default={}, doc="A number, the layout if it is new, and tiles.")
    confirmed = param.Integer(default=0, doc="The number of the content that is shown.")
    event = param.Dict(default={}, doc="What was done last, with a stamp.")

    _esm = "board.js"

    def __init__(
        self, *, layout: str = "", tiles: Mapping[str, str] = MappingProxyType({}), **params: Any
    ) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]  # Panel has no types
        self._sent_at = 0.0
        self.lay_out(layout, tiles)

    def lay_out(self, layout: str, tiles: Mapping[str, str]) -> None:
        """Show another layout with its first tiles."""
        self._layout = str(layout)
        self._is_laid_out = False
        self._shown = dict(tiles)
        self._unconfirmed = dict(tiles)
        self._send()

    def fill(self, tiles: Mapping[str, str]) -> None:
        """Show new HTML in tiles; what is shown already is not sent again."""
        changed = {name: str(text) for name, text in tiles.items() if self._shown.get(name) != text}
        if changed:
            self._settle()
            self._shown |= changed
            self._unconfirmed |= changed
            self._send()

    def shown(self, tile: str) -> str:
        """Return the HTML of a tile as it is now."""
        return self._shown.get(tile, "")

    def send_again(self) -> None:
        """Send what the browser should have confirmed long ago, if there is any."""
        self._settle()
        is_late = time.monotonic() - self._sent_at > _LATE_SECONDS
        if is_late and (self._unconfirmed or not self._is_laid_out):
            self._send()

    def _settle(self) -> None:
        """Forget what the browser has confirmed."""
        if self.confirmed == self.content["number"]:
            self._unconfirmed = {}
            self._is_laid_out = True

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        layout = {} if self._is_laid_out else {"layout": self._layout}
        number = self.content.get("number", 0) + 1
        self.content = {"number": number, **layout, "tiles": dict(self._unconfirmed)}
