"""A receiver of results: checks signatures, takes every result once. Standard library only.

    python examples/webhook_consumer.py --port 9000 --secret whsec_...

Leave the secret out to take unsigned results. Single results and batches are both understood.
Results come at least once: what was answered 200 may come again when the answer was lost, with
the same idempotency key. Each new result is printed as one line.
"""

# ruff: noqa: INP001, T201 - a script beside the other examples; printing is what it is for

import argparse
import base64
import gzip
import hashlib
import hmac
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOLERANCE_SECONDS = 300
LARGEST_BODY_BYTES = 64 * 1024 * 1024


class Refused(Exception):
    """The POST is not taken, with this status and for this reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
    """Raise Refused unless one of the secrets has signed exactly these bytes, just now.

    The body is checked as it came: a compressed one before it is decompressed.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise Refused(401, "the signature is missing, or too old, or from the future")
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    given = headers.get("webhook-signature", "").split()
    for secret in secrets:
        digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        if any(hmac.compare_digest(expected.encode(), each.encode()) for each in given):
            return
    raise Refused(401, "no signature fits")


def key_of(secret: str) -> bytes:
    """Return the bytes that sign: base64 after `whsec_`, otherwise the text itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    encoded = secret.removeprefix("whsec_").rstrip("=")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4))


def results_in(headers: Mapping[str, str], body: bytes) -> list[tuple[str, Any]]:
    """Return the results of a POST, each with the key under which it is recognised."""
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if headers.get("content-type") != "application/x-ndjson":
        return [(headers["idempotency-key"], json.loads(body))]
    lines = [json.loads(line) for line in body.splitlines()]
    return [(line["id"], line["result"]) for line in lines]


class Inbox:
    """The results that were taken, by their keys; they outlive the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS result (key TEXT PRIMARY KEY, line TEXT)")

    def take(self, results: Sequence[tuple[str, Any]]) -> list[Any]:
        """Store the results durably; return those that were not there before."""
        new = []
        with self._lock, closing(sqlite3.connect(self._file)) as database, database:
            for key, result in results:
                row = (key, json.dumps(result))
                added = database.execute("INSERT OR IGNORE INTO result VALUES (?, ?)", row)
                if added.rowcount:
                    new.append(result)
        return new


class Consumer(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    inbox: Inbox
    secrets: Sequence[str] = ()

    def do_POST(self) -> None:
        """Take the results; answer 200 only once they are stored."""
        try:
            new = self.inbox.take(self._read())
        except Refused as refused:
            self._answer(refused.status, str(refused))
            return
        except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
            self._answer(400, f"this is not understood: {error}")
            return
        for result in new:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        self._answer(200, f"{len(new)} new")

    def _read(self) -> list[tuple[str, Any]]:
        size = int(self.headers.get("content-length", 0))
        if size > LARGEST_BODY_BYTES:
            self.close_connection = True
            raise Refused(413, "too large")
        body = self.rfile.read(size)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.secrets:
            check_signature(headers, body, self.secrets)
        return results_in(headers, body)

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the results are the output."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret", action="append", default=[], help="may be given twice")
    parser.add_argument("--database", type=Path, default=Path("received.sqlite"))
    options = parser.parse_args()
    Consumer.inbox, Consumer.secrets = Inbox(options.database), options.secret
    try:
        server = ThreadingHTTPServer((options.host, options.port), Consumer)
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error.strerror}")
    with server, suppress(KeyboardInterrupt):
        print(f"listening on http://{options.host}:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
