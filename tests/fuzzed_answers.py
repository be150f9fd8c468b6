"""A provider's answers, spoilt by a seeded chance: batch objects, lists, result files."""

import copy
import gzip
import json
import random
from collections.abc import Sequence
from typing import Any, Final

from fuzzed_lines import BYTE_CHANGES, ODD_VALUES

_ODD: Final[tuple[Any, ...]] = (
    None, "", " ", "null", "0", "200", 0, -1, 1, 1.5, 1e300, 10**18, 10**40, 2**31, 2**63, True,
    False, [], {}, [None], [[]], {"": None}, {"id": "x"}, "\ud800", "\x00", "a\nb", "../../files",
    "x" * 5_000, "\u2028", float("nan"), float("inf"), {"data": None}, [{"code": 7}], "ä/?#%2e",
    "9" * 5_000, -(10**18), {"__proto__": {}}, "completed", "9999-12-31T23:59:59-23:59",
    253402300799,
)  # fmt: skip
_STATUSES: Final = (
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling",
    "cancelled", "canceled", "COMPLETED", "done", "", "paused", "deleted", None, 7,
)  # fmt: skip
_STATUS_CODES: Final[tuple[Any, ...]] = (
    200, 201, 299, 400, 401, 404, 429, 500, 503, 0, -200, 99, 300, 1000, 10**12, "200", " 200",
    "OK", "\uff12\uff10\uff10", 200.0, 200.5, None, True, [200], {"code": 200}, "9" * 5_000,
)  # fmt: skip


class Spoiler:
    """Spoils answers; the same seed spoils the same ones in the same way."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a seeded test

    def value(self, answer: Any, *, times: int = 1) -> Any:
        """Return a copy of an answer with something changed in it."""
        spoilt = copy.deepcopy(answer)
        for _ in range(times):
            place = self._place(spoilt)
            if place is None:
                return self.chance.choice(_ODD)
            holder, key = place
            self._change(holder, key)
        return spoilt

    def answer(self, answer: Any) -> bytes:
        """Return an answer as it comes over the wire: odd in its values, its text or both."""
        chance = self.chance
        roll = chance.random()
        if roll < 0.6:
            return encoded(self.value(answer, times=chance.choice((1, 1, 2, 4))))
        if roll < 0.7:
            return chance.choice(ODD_VALUES)
        if roll < 0.8:
            return self._with_a_key_twice(answer)
        text = encoded(answer if roll < 0.95 else self.value(answer))
        for _ in range(chance.choice((1, 1, 3))):
            text = chance.choice(BYTE_CHANGES)(text, chance)
        return text

    def batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch object that says something else, in the right types or not."""
        chance = self.chance
        if chance.random() < 0.4:
            return batch | {"status": chance.choice(_STATUSES)}
        found: Any = self.value(batch, times=chance.choice((1, 1, 2, 3)))
        return found if isinstance(found, dict) else batch | {"id": found}

    def line(self, line: bytes) -> bytes:
        """Return a line of a result file that says something else, or nothing any more."""
        chance, roll = self.chance, self.chance.random()
        if roll < 0.35:
            return chance.choice(BYTE_CHANGES)(line, chance)
        told = json.loads(line)
        if roll < 0.55:
            response = told.get("response") or {}
            told["response"] = response | {"status_code": chance.choice(_STATUS_CODES)}
        elif roll < 0.65:
            told |= chance.choice(
                (
                    {"response": None},
                    {"response": None, "error": None},
                    {"error": {"code": "server_error", "message": "both"}},
                    {"error": "text", "response": None},
                    {"error": [], "response": []},
                    {"response": {"status_code": 200, "body": None}},
                    {"response": {"status_code": 200, "body": "text"}},
                    {"response": {"status_code": 200, "body": [1]}},
                )
            )
        else:
            told = self.value(told, times=chance.choice((1, 1, 2)))
        return encoded(told)

    def file(self, lines: Sequence[bytes]) -> bytes:
        """Return a result file of which some lines or all of it is spoilt."""
        chance, roll = self.chance, self.chance.random()
        if roll < 0.04:
            return chance.choice(
                (b"", b"\n", b"\r\n\r\n", b"\x00", b"\xef\xbb\xbf", b"null", b"<html>")
            )
        kept = [self._kept(line, lines) for line in lines]
        if chance.random() < 0.5:
            chance.shuffle(kept)
        end = chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\n\n"))
        text = b"".join(part + end for line in kept for part in line)
        return self._whole_file(text, roll)

    def _whole_file(self, text: bytes, roll: float) -> bytes:
        if roll < 0.08:
            return text.removesuffix(b"\n")
        if roll < 0.12:
            return b"\xef\xbb\xbf" + text
        if roll < 0.15:
            return text[: self.chance.randint(0, len(text))]
        if roll < 0.17:
            return gzip.compress(text, 1)
        return text.decode("latin-1").encode("utf-16") if roll < 0.18 else text

    def _kept(self, line: bytes, lines: Sequence[bytes]) -> list[bytes]:
        roll = self.chance.random()
        if roll < 0.75:
            return [line]
        if roll < 0.78:
            return []
        if roll < 0.82:
            return [line, line]
        if roll < 0.86:
            return [line, self.chance.choice(lines)]
        if roll < 0.9:
            return [line, self.line(line)]
        return [self.line(line)]

    def _place(self, answer: Any) -> tuple[Any, Any] | None:
        places: list[tuple[Any, Any]] = []
        heap = [answer]
        while heap:
            holder = heap.pop()
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            for key in keys:
                places.append((holder, key))
                if isinstance(holder[key], dict | list):
                    heap.append(holder[key])
        return self.chance.choice(places) if places else None

    def _change(self, holder: Any, key: Any) -> None:
        chance, roll = self.chance, self.chance.random()
        if roll < 0.15:
            del holder[key]
        elif roll < 0.25 and isinstance(holder, dict):
            holder[chance.choice((f"{key}_", f" {key}", str(key).upper(), "", "id"))] = holder.pop(
                key
            )
        elif roll < 0.35:
            holder[key] = chance.choice(([holder[key]], {"value": holder[key]}, str(holder[key])))
        elif roll < 0.45 and isinstance(holder[key], int):
            holder[key] = chance.choice(
                (holder[key] + 1, -holder[key], holder[key] * 10**12, float(holder[key]))
            )
        else:
            holder[key] = copy.deepcopy(chance.choice(_ODD))

    def _with_a_key_twice(self, answer: Any) -> bytes:
        text = encoded(answer)
        if not isinstance(answer, dict) or not answer:
            return text + text
        key = self.chance.choice(list(answer))
        value = self.chance.choice((answer[key], *_ODD))
        return text[:-1] + b"," + encoded({key: value})[1:]


def encoded(answer: Any) -> bytes:
    """Return the JSON text of an answer, as odd as its values are."""
    text = json.dumps(answer, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(answer).encode()


def nested(depth: int) -> bytes:
    """Return JSON that is nested so deeply."""
    return b'{"a":' * depth + b"1" + b"}" * depth
