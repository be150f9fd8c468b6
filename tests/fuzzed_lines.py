"""Request lines, good ones and spoilt ones, made by a seeded chance."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
ENVELOPE: Final = ("custom_id", "method", "url", "body", "delivery_config")
SEPARATORS: Final = (b"\n", b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\n \t\r\n", b"\n\r\n")

_BODIES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (CHAT, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}]}),
    (
        CHAT,
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "Größe 😀 \u2028 \u0085 \x00"}],
            "max_completion_tokens": 50,
            "n": 2,
            "stream": False,
        },
    ),
    ("/v1/responses", {"model": "gpt-5", "input": "Say it.", "max_output_tokens": 9}),
    ("/v1/embeddings", {"model": "small", "input": ["a", "b", [1, 2]]}),
    ("/v1/completions", {"model": "davinci", "prompt": ["a", "b"], "max_tokens": 3}),
    ("/v1/moderations", {"model": "omni-moderation-latest", "input": "bad words"}),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}),
    ("/v1/images/edits", {"model": "gpt-image-1", "prompt": "a cat", "image": "file-1"}),
)
_DESTINATIONS: Final[tuple[Any, ...]] = (
    {"type": "file"},
    {"type": "webhook", "webhook_url": "https://example.com/hook"},
    {"type": "rabbitmq", "queue_name": "answers"},
    {"type": "rabbitmq", "queue": {"name": "answers"}},
    {"type": "named", "name": "gone"},
    {"type": "webhook", "webhook_url": "http://127.0.0.1/"},
    {"type": "webhook", "webhook_url": "https://user:secret@example.com"},
    {"type": "webhook"},
    {"type": "pigeon"},
    {"type": "file", "type ": "file"},
    {"webhook_url": "https://example.com"},
    "file",
    None,
    [],
    True,
    7,
)
ODD_VALUES: Final = (
    b"null", b"true", b"false", b"0", b"-0", b"-1", b"7", b"1.5", b"1e400", b"-1e-400", b"1E5",
    b"123456789012345678901234567890", b"9" * 5_000, b"18446744073709551616", b"NaN", b"Infinity",
    b"-Infinity", b'""', b'" "', b'"x"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"', b'"\xc3\xa9"', b'"\xe2\x80\xa8"', b'"\xc2\x85"', b'"\xff"',
    b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc0\x80"', b"[]", b"{}", b"[[]]", b'{"":{}}',
    b'{"__proto__":{}}', b'{"constructor":{"prototype":{}}}', b"[null]", b'["\\ud800"]', b"01",
    b"+1", b".5", b"1.", b"0x10", b"'x'", b"undefined", b"None", b"", b"[1,]", b'{"a":1,}',
    b'{"a":1,"a":2}', b'"' + b"x" * 600 + b'"', b'"' + "ä".encode() * 512 + b'"',
    b"[" * 50 + b"]" * 50,
    b"[" * 1_200 + b"]" * 1_200, b'{"a":' * 600 + b"1" + b"}" * 600, b"[" * 30_000, b'"\\x"',
    b'"\t"', b'"\x00"', b'"\\u00e"', b'"a\\"', b"1 2", b"/**/1", b"\xef\xbb\xbf1",
)  # fmt: skip
_PIECES: Final = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\r", b"\n",
    b"\r\n", b"\t", b"\x0b", b"\x0c", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85", b"\xc2\xa0",
    b"\xe3\x80\x80", b"\x1e", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"'", b" ", b"//",
    b"NaN", b'"custom_id"', b'"body":', b"null", b"1e999", b"\xf0\x9f\x98\x80", b"\x85", b"\x80",
)  # fmt: skip
_NAMES: Final = (
    b'"customId"', b'"Custom_id"', b'"custom\\u005fid"', b'"custom_id "', b'"__proto__"', b'""',
    b'"b\\u006fdy"', b'"constructor"', b'"extra"', b"custom_id", b"'url'", b"1", b"null",
    b'"deliveryConfig"', b'"delivery_config"', b'"url"', b'"\\ud800"', b'"method\\u0000"',
)  # fmt: skip
_BODY_FIELDS: Final = (
    b"model", b"stream", b"n", b"max_tokens", b"max_completion_tokens", b"max_output_tokens",
    b"messages", b"input", b"prompt", b"instructions", b"tools", b"text", b"suffix",
    b"response_format", b"functions", b"metadata", b"__proto__", b"",
)  # fmt: skip

Parts = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeLine:
    """A line as it goes into a file."""

    text: bytes
    """Spoilt ones may hold newlines, and then are several lines or none."""
    custom_id: str
    is_good: bool
    body: bytes
    """What a good line has as its body."""


class LineMaker:
    """Makes lines; the same seed makes the same ones."""

    def __init__(self, seed: int, *, good_share: float = 0.2, prefix: str = "id") -> None:
        self._chance = random.Random(seed)  # noqa: S311 - a seeded test
        self._good_share = good_share
        self._prefix = f"{prefix}-{seed}"
        self._made = 0

    def lines(self, count: int) -> Iterator[MadeLine]:
        """Yield so many lines."""
        for _ in range(count):
            yield self.line()

    def line(self) -> MadeLine:
        """Return the next line."""
        self._made += 1
        chance = self._chance
        is_good = chance.random() < self._good_share
        custom_id = f"{self._prefix}-{'good' if is_good else 'odd'}-{self._made}"
        url, content = chance.choice(_BODIES)
        body = json.dumps(content, ensure_ascii=chance.random() < 0.5).encode()
        parts = [
            (b'"custom_id"', json.dumps(custom_id).encode()),
            (b'"method"', b'"POST"'),
            (b'"url"', json.dumps(url).encode()),
            (b'"body"', body),
        ]
        if chance.random() < 0.1:
            parts.append((b'"delivery_config"', b'{"type":"file"}'))
        if chance.random() < 0.3:
            chance.shuffle(parts)
        text = joined(parts)
        if not is_good:
            text = self._spoilt(parts)
        return MadeLine(text=text, custom_id=custom_id, is_good=is_good, body=body)

    def separator(self) -> bytes:
        """Return what ends a line in a file: mostly a newline, sometimes more."""
        return self._chance.choice(SEPARATORS)

    def _spoilt(self, parts: Parts) -> bytes:
        chance = self._chance
        if chance.random() < 0.5:
            text = joined(chance.choice(_STRUCTURAL)(parts, chance))
        else:
            text = joined(parts)
            if chance.random() < 0.2:
                text = joined(chance.choice(_STRUCTURAL)(parts, chance))
            for _ in range(chance.choice((1, 1, 1, 2, 5))):
                text = chance.choice(BYTE_CHANGES)(text, chance)
        return text


def joined(parts: Parts) -> bytes:
    """Return the parts as one JSON object."""
    return b"{" + b",".join(key + b":" + value for key, value in parts) + b"}"


# Changes of the text ----------------------------------------------------------------------


def _flipped(text: bytes, chance: random.Random) -> bytes:
    if not text:
        return b"\x00"
    place = chance.randrange(len(text))
    return text[:place] + bytes([text[place] ^ 1 << chance.randrange(8)]) + text[place + 1 :]


def _with_a_piece(text: bytes, chance: random.Random) -> bytes:
    place = chance.choice((0, len(text), chance.randint(0, len(text))))
    return text[:place] + chance.choice(_PIECES) + text[place:]


def _with_a_byte(text: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + bytes([chance.randrange(256)]) + text[place:]


def _without_some(text: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + text[place + chance.choice((1, 1, 1, 2, 9)) :]


def _cut(text: bytes, chance: random.Random) -> bytes:
    return text[: chance.randint(0, len(text))]


def _twice(text: bytes, chance: random.Random) -> bytes:
    return text + chance.choice((b"", b" ", b",", b"\x00")) + text


def _with_a_part_again(text: bytes, chance: random.Random) -> bytes:
    first, last = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    return text[:last] + text[first:]


def _spaced(text: bytes, chance: random.Random) -> bytes:
    space = chance.choice((b" ", b"\t", b"\r", b" \r ", b"\x0b", b"\xc2\xa0"))
    return text.replace(b":", space + b":" + space, 3).replace(b",", b"," + space, 2) + space


def _as_utf16(text: bytes, chance: random.Random) -> bytes:
    return text.decode("latin-1").encode(chance.choice(("utf-16-le", "utf-16-be", "utf-16")))


def _noise(_text: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 3, 40)))


def _escaped(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text)) if text else 0
    return (
        text[:place]
        + b"".join(b"\\u%04x" % byte for byte in text[place : place + 1])
        + text[place + 1 :]
    )


BYTE_CHANGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    _flipped, _flipped, _with_a_piece, _with_a_piece, _with_a_byte, _without_some, _without_some,
    _cut, _twice, _with_a_part_again, _spaced, _as_utf16, _noise, _escaped, _escaped,
)  # fmt: skip


# Changes of the structure -----------------------------------------------------------------


def _with_an_odd_value(parts: Parts, chance: random.Random) -> Parts:
    place = chance.randrange(len(parts))
    return [*parts[:place], (parts[place][0], _odd_value(chance)), *parts[place + 1 :]]


def _without_a_part(parts: Parts, chance: random.Random) -> Parts:
    return [part for part in parts if part != parts[chance.randrange(len(parts))]]


def _with_a_repeated_part(parts: Parts, chance: random.Random) -> Parts:
    key, value = chance.choice(parts)
    key = key.replace(b"_", b"\\u005f") if chance.random() < 0.3 else key
    value = value if chance.random() < 0.5 else _odd_value(chance)
    return [*parts, (key, value)] if chance.random() < 0.5 else [(key, value), *parts]


def _with_another_name(parts: Parts, chance: random.Random) -> Parts:
    place = chance.randrange(len(parts))
    return [*parts[:place], (chance.choice(_NAMES), parts[place][1]), *parts[place + 1 :]]


def _with_a_foreign_part(parts: Parts, chance: random.Random) -> Parts:
    return [*parts, (chance.choice(_NAMES), _odd_value(chance))]


def _with_a_destination(parts: Parts, chance: random.Random) -> Parts:
    text = json.dumps(chance.choice(_DESTINATIONS)).encode()
    if chance.random() < 0.3:
        text = chance.choice(BYTE_CHANGES)(text, chance)
    return [*(part for part in parts if b"delivery" not in part[0]), (b'"delivery_config"', text)]


def _with_an_odd_body(parts: Parts, chance: random.Random) -> Parts:
    field = b'"' + chance.choice(_BODY_FIELDS) + b'":' + _odd_value(chance)

    def changed(body: bytes) -> bytes:
        if chance.random() < 0.5:
            return body[:-1] + b"," + field + b"}"
        return b"{" + field + b"," + body[1:]

    return [(key, changed(value) if key == b'"body"' else value) for key, value in parts]


def _with_another_target(parts: Parts, chance: random.Random) -> Parts:
    urls = (
        b'"/v1/chat/completions/"', b'"/v1/files"', b'"http://x/v1/embeddings"', b'"/v1/videos"',
        b'"/v1/EMBEDDINGS"', b'"/v1\\/embeddings"', b'"/v1/embeddings"',
    )  # fmt: skip
    methods = (b'"GET"', b'"post"', b'"POST "', b'"P\\u004fST"', b'"DELETE"')
    choice = {b'"url"': chance.choice(urls), b'"method"': chance.choice(methods)}
    wanted = chance.choice(list(choice))
    return [(key, choice[key] if key == wanted else value) for key, value in parts]


def _with_a_long_id(parts: Parts, chance: random.Random) -> Parts:
    text = chance.choice(("x", "ä", "😀", "\u2028", "\\")) * chance.choice((511, 512, 513, 5_000))
    custom_id = json.dumps(text + str(chance.random()), ensure_ascii=chance.random() < 0.5)
    return [(key, custom_id.encode() if key == b'"custom_id"' else value) for key, value in parts]


def _odd_value(chance: random.Random) -> bytes:
    value = chance.choice(ODD_VALUES)
    if chance.random() < 0.1:
        return b'{"inner":[' + value + b"]}"
    return value


_STRUCTURAL: Final[tuple[Callable[[Parts, random.Random], Parts], ...]] = (
    _with_an_odd_value, _with_an_odd_value, _with_an_odd_value, _without_a_part,
    _with_a_repeated_part, _with_another_name, _with_a_foreign_part, _with_a_destination,
    _with_an_odd_body, _with_an_odd_body, _with_another_target, _with_a_long_id,
)  # fmt: skip
