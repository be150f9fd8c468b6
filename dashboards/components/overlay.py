"""What lies over every page: one dialog, the toasts, the banner of a lost connection."""

from typing import Any

import param
from panel.custom import JSComponent


class Overlay(JSComponent):
    """Shows a dialog and toasts; the browser gives the focus back when the dialog is closed."""

    dialog = param.Dict(default={}, doc="What is asked, with its number; empty for nothing.")
    answer = param.Dict(default={}, doc="The number of the question, and what was answered.")
    toast = param.Dict(default={}, doc="What is said, with a number.")

    _esm = "overlay.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, styles={"position": "absolute"}, **params)  # type: ignore[no-untyped-call]  # Panel has no types
