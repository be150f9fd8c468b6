"""Open tabs of the dashboard as far as the server is concerned, without browsers: a process.

`python -m benchmarks.dashboard_tabs PORT TABS` fetches pages and speaks Bokeh's protocol as they
do. It says "open" when all tabs show data, closes them when its input ends, and then prints how
many changes they were sent. Its own work is next to nothing, which 20 real browsers' is not.
"""

import asyncio
import json
import re
import sys
import uuid
from dataclasses import dataclass, field
from http.client import HTTPConnection

import uvloop
from websockets.asyncio.client import ClientConnection, connect

PAGES = ("/ui", "/ui/batches", "/ui/requests", "/ui/deliveries", "/ui/jobs")
_TOKEN = re.compile(r'"token":"([^"]+)"')
_HEADER = re.compile(r'"msgtype":\s*"PATCH-DOC"')
_CONTENT = re.compile(
    r'"model":\{"id":"([^"]+)"\},"attr":"content","new":\{"type":"map","entries":\[\["number",(\d+)\]'
)
"""What a board is sent: its model and the number that is to be confirmed."""
_READY = {
    "events": [
        {
            "kind": "MessageSent",
            "msg_type": "bokeh_event",
            "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map"}},
        }
    ]
}
_MOST_BYTES = 64 << 20
_DATA_SECONDS = 60.0


@dataclass(kw_only=True, slots=True)
class Tab:
    """One open page."""

    connection: ClientConnection
    shows_data: asyncio.Event = field(default_factory=asyncio.Event)
    changes: int = 0

    async def begin(self) -> None:
        """Fetch the document and say that it is shown, as a page does."""
        await self._receive_message()
        await self._send("PULL-DOC-REQ", {})
        await self._receive_message()
        await self._send("PATCH-DOC", _READY)

    async def follow(self) -> None:
        """Take what is sent until the connection ends, and confirm it as a page does."""
        async for piece in self.connection:
            if not isinstance(piece, str):
                continue
            if _HEADER.search(piece):
                self.changes += 1
                self.shows_data.set()
            elif shown := [_confirmed(*found) for found in _CONTENT.findall(piece)]:
                await self._send("PATCH-DOC", {"events": shown})

    async def _receive_message(self) -> None:
        """Take one message: its header, metadata and content, each a frame of its own."""
        for _ in range(3):
            await self.connection.recv()

    async def _send(self, kind: str, content: object) -> None:
        for piece in ({"msgid": uuid.uuid4().hex, "msgtype": kind}, {}, content):
            await self.connection.send(json.dumps(piece))


def _confirmed(model: str, number: str) -> dict[str, object]:
    return {
        "kind": "ModelChanged", "model": {"id": model}, "attr": "confirmed", "new": int(number),
    }  # fmt: skip


async def open_tab(port: int, page: str) -> Tab:
    """Fetch a page and connect it."""
    token = await asyncio.to_thread(_token_of_page, port, page)
    connection = await connect(
        f"ws://127.0.0.1:{port}{page}/ws",
        origin=f"http://127.0.0.1:{port}",  # type: ignore[arg-type]  # an Origin is text
        subprotocols=["bokeh", token],  # type: ignore[list-item]  # so is a subprotocol
        max_size=_MOST_BYTES,
    )
    tab = Tab(connection=connection)
    await tab.begin()
    return tab


def _token_of_page(port: int, page: str) -> str:
    asked = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asked.request("GET", page)
        found = _TOKEN.search(asked.getresponse().read().decode())
    finally:
        asked.close()
    if found is None:
        raise RuntimeError(f"{page} holds no token")
    return found[1]


async def _run(port: int, count: int) -> None:
    tabs = [await open_tab(port, PAGES[number % len(PAGES)]) for number in range(count)]
    following = [asyncio.ensure_future(tab.follow()) for tab in tabs]
    async with asyncio.timeout(_DATA_SECONDS):
        await asyncio.gather(*(tab.shows_data.wait() for tab in tabs))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for tab in tabs:
        await tab.connection.close()
    await asyncio.gather(*following)
    print(json.dumps([tab.changes for tab in tabs]), flush=True)


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2])))
