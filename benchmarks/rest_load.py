"""A client that keeps so many connections busy, with next to no cost of its own: a process.

`python -m benchmarks.rest_load PORT CONNECTIONS REQUESTS` prints rate and latencies as JSON.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator

import uvloop

TEXT_BYTES = 830
"""Makes a request line of about 1 KB."""


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last is answered."""

    def __init__(
        self, requests: Iterator[bytes], latencies: list[float], over: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._latencies = latencies
        self._over = over
        self._sent_at = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, _, body = self._answer.partition(b"\r\n\r\n")
        if not body.endswith(b"}"):
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self._over.set_exception(RuntimeError(f"not accepted: {self._answer[:300]!r}"))
            return
        self._answer = b""
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._over.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]


def _requests(count: int) -> Iterator[bytes]:
    text = "word " * (TEXT_BYTES // 5)
    for number in itertools.islice(itertools.count(), count):
        body = (
            b'{"custom_id":"load-%d","method":"POST","url":"/v1/chat/completions","body":{"model":'
            b'"gpt-4o-mini","messages":[{"role":"user","content":"%s %d"}]}}'
        ) % (number, text.encode(), number)
        yield (
            b"POST /api/requests HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s"
        ) % (len(body), body)


async def _load(port: int, connections: int, count: int) -> dict[str, float]:
    loop, latencies = asyncio.get_running_loop(), list[float]()
    requests, ends = _requests(count), [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for end in ends:
        await loop.create_connection(
            lambda end=end: _Connection(requests, latencies, end), "127.0.0.1", port
        )
    await asyncio.gather(*ends)
    seconds = time.perf_counter() - began
    latencies.sort()
    return {
        "rate": len(latencies) / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1_000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1_000,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_load(*map(int, sys.argv[1:4])))))
