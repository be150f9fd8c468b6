"""The address bar, the keyboard, the theme and the connection, as far as Python must know."""

from typing import Any

import param
from panel.custom import JSComponent


class Router(JSComponent):
    """Keeps the address and what is shown together; takes no room."""

    path = param.String(default="", doc="Path with query string.")
    pops = param.Integer(default=0, doc="Counts what the browser has navigated by itself.")
    title = param.String(default="", doc="The title of the document.")
    dark = param.Boolean(default=False, doc="Whether the dark theme is in force.")
    narrow = param.Boolean(default=False, doc="Whether the window is a phone's.")
    visible = param.Boolean(default=True, doc="Whether the tab can be seen.")
    pace = param.Integer(default=2, doc="Seconds between two refreshes; 0 for none.")
    rows = param.Integer(default=0, doc="How many rows a page has; 0 for the usual number.")
    beat = param.Dict(default={}, doc="Until when the data are known, and trouble with that.")

    _esm = "router.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, styles={"position": "absolute"}, **params)  # type: ignore[no-untyped-call]  # Panel has no types
