"""Sends files from the browser to `POST /api/files`, and watches how they are read."""

from typing import Any

import param
from panel.custom import JSComponent


class Uploader(JSComponent):
    """Sends what was dropped or chosen; shows how far it is where the board has `data-upload`."""

    held = param.String(default="", doc="Watches the reading of the file that waits under this id.")
    sent = param.List(default=[], doc="The ids of the files that wait now.")
    ready = param.Integer(default=0, doc="Goes up when the watched file has been read.")

    _esm = "uploader.js"

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, styles={"position": "absolute"}, **params)  # type: ignore[no-untyped-call]  # Panel has no types
