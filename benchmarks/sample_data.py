"""Request and result files that look like real ones, the same each time."""

import random
from collections.abc import Iterable
from pathlib import Path

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_POOL_CHARACTERS = 4_000_000
_HEAD = (
    b'{"custom_id":"request-%07d","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"gpt-4o-mini","messages":[{"role":"user","content":"'
)
_TAIL = b'"}]}}\n'
_ADDRESSED_TAIL = b'"}]},"delivery_config":%s}\n'
_RESULT_HEAD = (
    b'{"id":"batch_req_%s","custom_id":"%s","response":{"status_code":200,"request_id":"req_%s",'
    b'"body":{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini","choices":[{'
    b'"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"'
)
_RESULT_TAIL = (
    b'"}}],"usage":{"prompt_tokens":250,"completion_tokens":800,"total_tokens":1050}}},'
    b'"error":null}\n'
)


class _Text:
    """Random words, any piece of any length at any time."""

    def __init__(self) -> None:
        self._chance = random.Random(7)  # noqa: S311 - words, no secrets
        words = ["".join(self._chance.choices(_LETTERS, k=length)) for length in range(2, 11)] + [
            "".join(self._chance.choices(_LETTERS, k=self._chance.randint(2, 10)))
            for _ in range(5_000)
        ]
        pool = " ".join(self._chance.choices(words, k=_POOL_CHARACTERS // 7))
        self._pool = pool.encode()

    def piece(self, length: int) -> bytes:
        """Return words of so many bytes in all."""
        start = self._chance.randrange(len(self._pool) - length)
        return self._pool[start : start + length]


def write_requests(
    path: Path, count: int, *, line_bytes: int, destination: str | None = None
) -> None:
    """Write chat requests of so many bytes each, whose results go to this destination (JSON)."""
    text = _Text()
    tail = _TAIL if destination is None else _ADDRESSED_TAIL % destination.encode()
    beside = len(_HEAD % 0) + len(tail)
    length = max(1, line_bytes - beside)
    with path.open("wb") as file:
        for number in range(count):
            file.write(_HEAD % number + text.piece(length) + tail)


def write_results(path: Path, wire_ids: Iterable[str], *, line_bytes: int) -> None:
    """Write one chat answer of about so many bytes for each id, in another order."""
    text = _Text()
    ids = [wire_id.encode() for wire_id in wire_ids]
    random.Random(11).shuffle(ids)  # noqa: S311 - an order, no secret
    length = max(1, line_bytes - len(_RESULT_HEAD) - 2 * len(ids[0]) - len(_RESULT_TAIL))
    with path.open("wb") as file:
        for wire_id in ids:
            head = _RESULT_HEAD % (wire_id, wire_id, wire_id)
            file.write(head + text.piece(length) + _RESULT_TAIL)
