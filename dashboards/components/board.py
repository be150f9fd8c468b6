"""The part of the page that changes: HTML in named tiles, of which only what differs is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import param
from panel.custom import JSComponent


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
    """Shows a layout whose elements with `data-tile` are filled with the tile of that name."""

    layout = param.String(doc="HTML with places for tiles.")
    tiles = param.Dict(default={}, doc="The HTML of each tile when the layout is shown.")
    patch = param.Dict(default={}, doc="Tiles that have changed since.")
    event = param.Dict(default={}, doc="What was done last, with a stamp.")

    _esm = "board.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]  # Panel has no types
        self._shown: dict[str, str] = dict(self.tiles)

    def lay_out(self, layout: str, tiles: Mapping[str, str]) -> None:
        """Show another layout with its first tiles."""
        self._shown = dict(tiles)
        self.param.update(layout=str(layout), tiles=dict(tiles), patch={})

    def fill(self, tiles: Mapping[str, str]) -> None:
        """Show new HTML in tiles; what is shown already is not sent again."""
        changed = {name: str(text) for name, text in tiles.items() if self._shown.get(name) != text}
        if changed:
            self._shown |= changed
            self.patch = changed

    def shown(self, tile: str) -> str:
        """Return the HTML of a tile as it is now."""
        return self._shown.get(tile, "")
