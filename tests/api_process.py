"""Asking a web process whose ledger the test fills itself."""

import json
import time
from typing import Any

import httpx
from factories import Store, chat_line
from web_process import Web

OLDEST_VIEW_SECONDS = 1.1
"""A view of the ledger may be a second old."""


def fill(store: Store, job: str, count: int = 2, *, config: Any = None) -> list[str]:
    """Take requests of a job in; return their ids."""
    ids = [f"{job}-{number}" for number in range(count)]
    more = {} if config is None else {"delivery_config": config}
    lines = [json.dumps(json.loads(chat_line(each)) | more).encode() for each in ids]
    store.take_in(lines, name=job, source_id=job)
    return ids


def pulled(answer: httpx.Response) -> list[str]:
    """Return the ids of the results in an answer of the pull door."""
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["custom_id"] for line in answer.text.splitlines()]


def end_of_feed(web: Web) -> str:
    """Return the cursor behind everything."""
    time.sleep(OLDEST_VIEW_SECONDS)
    cursor = ""
    while True:
        answer = web.client.get("/api/results", params={"after": cursor, "limit": 1000})
        cursor = answer.headers["X-Obm-Next-Cursor"]
        if not answer.text:
            return str(cursor)


def shown(web: Web, path: str, **query: Any) -> Any:
    """Return what an address answers, as it is now."""
    time.sleep(OLDEST_VIEW_SECONDS)
    answer = web.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def acted(web: Web, path: str, status: int = 202) -> Any:
    """Return what an action answers."""
    answer = web.client.post(path)
    assert answer.status_code == status, answer.text
    return answer.json()
