"""Reading one request line: either a request that can be sent, or the reason why not.

A usual line takes the fast way: typed decoders that keep the body as it came. They refuse
or doubt everything unusual, and what they doubt goes to `find_fault`, which looks at the
whole line and names every fault. A line without faults is a request after all.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
from xxhash import xxh3_64_intdigest

from batching.destinations import Reach, canonical_json, parse_destination
from batching.endpoints import ENDPOINTS, Endpoint
from batching.errors import BadInput
from batching.line_faults import (
    LONGEST_CUSTOM_ID,
    Refusal,
    RefusalCode,
    find_fault,
    has_repeated_key,
)
from batching.settings import Settings
from batching.tokens import (
    count_embedding_inputs,
    estimate_tokens,
    expected_output_tokens,
    per_mille,
)
from batching.wire import LONGEST_WIRE_ID_BYTES

_LEAST_DESTINATION_BYTES: Final = len(',"delivery_config":')
_MOST_SPARE_BYTES: Final = len(',"url":""') - 1
"""A line with no more bytes than it needs and these cannot hold a key twice."""
_LONGEST_KEPT_DESTINATION: Final = 4_096
_MOST_DIGITS: Final = 15
_LEAST_CONTENT_BYTES: Final = len("null") + 1
"""Whatever is shorter may be null or missing and is looked at with care."""
_ABSENT: Final = msgspec.Raw()
_NULL: Final = msgspec.Raw(b"null")


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A valid request line with everything that is computed from it once."""

    custom_id: str
    url: str
    model: str
    body: bytes
    """The JSON text of the body, byte for byte as it came."""
    delivery_config: str | None
    """The destination as canonical JSON, or None for the default of the job."""
    wire_bytes: int
    """Length of the line as it is sent, newline included, with the longest wire id."""
    tokens: int
    """Estimated input tokens, safety factor included."""
    output_tokens: int
    """Output tokens that it is expected to cost: its own maximum, else the usual size."""
    embedding_inputs: int
    id_hash: int
    """xxh3_64 of the custom_id in UTF-8, unsigned."""
    payload_hash: int
    """xxh3_64 of url, body and delivery_config, each hashed with the hash before it as seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingRules:
    """The settings that decide how a line is read."""

    safety_per_mille: int = 1_100
    assumed_output_tokens: int = 500
    largest_line_bytes: int = 190_000_000
    reach: Reach = field(default_factory=Reach)

    @classmethod
    def of(cls, settings: Settings, *, reach: Reach) -> "ReadingRules":
        """Return the rules that these settings make."""
        return cls(
            reach=reach,
            safety_per_mille=per_mille(settings.token_safety_factor),
            assumed_output_tokens=settings.assumed_output_tokens,
            largest_line_bytes=settings.batch_max_bytes,
        )


def read_request(line: bytes, rules: ReadingRules) -> ReadRequest | Refusal:
    """Return the request in the line, or why it is refused, all faults in one reason."""
    try:
        if not line.isascii():
            line.decode()
        envelope = _decode_envelope(line)
        reader = _READERS[envelope.url]
        body = reader.decode(envelope.body)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
        return _read_doubtful(line, rules)
    content = reader.content(body)
    if body.stream or len(content) < _LEAST_CONTENT_BYTES:
        return _read_doubtful(line, rules)
    spare = len(line) - len(envelope.body) - len(envelope.custom_id) - reader.bytes_beside
    if spare > _MOST_SPARE_BYTES and _repeats_a_key(line, envelope, spare):
        return _read_doubtful(line, rules)
    return _completed(envelope, reader, body, rules)


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a line must look like to take the fast way."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CUSTOM_ID)]
    method: Literal["POST"]
    url: str
    body: msgspec.Raw
    delivery_config: msgspec.Raw = _ABSENT


class _BodyReader:
    """How the bodies of one endpoint are read; `beside` is what a line has beside id and body."""

    __slots__ = (
        "answers_with_tokens", "bytes_beside", "cap_names", "caps", "content", "counted",
        "counts_embedding_inputs", "decode", "decode_any", "hash_seed", "url",
        "wire_bytes_beside",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        raw = msgspec.Raw
        self.url = endpoint.url
        self.answers_with_tokens = endpoint.answers_with_tokens
        self.counts_embedding_inputs = endpoint.counts_embedding_inputs
        self.hash_seed = xxh3_64_intdigest(endpoint.url.encode())
        self.bytes_beside = len(
            f'{{"custom_id":"","method":"POST","url":"{endpoint.url}","body":}}'
        )
        self.wire_bytes_beside = self.bytes_beside + LONGEST_WIRE_ID_BYTES + len("\n")
        self.decode: Any = _decoder(
            endpoint,
            flag=bool | None,
            number=int | None,
            model=Annotated[str, msgspec.Meta(min_length=1)],
        )
        self.decode_any: Any = _decoder(endpoint, flag=raw, number=raw, model=raw)
        self.content = attrgetter(endpoint.content_field)
        self.counted = _several(endpoint.counted_fields)
        self.cap_names = endpoint.output_caps
        self.caps = _several(endpoint.output_caps)


def _decoder(endpoint: Endpoint, *, flag: Any, number: Any, model: Any) -> Any:
    """Return a decoder of what must be known of a body; whatever else is in it is skipped."""
    body_type = msgspec.defstruct(
        "Body",
        [
            ("model", model),
            ("stream", flag, None),
            ("n", number, None),
            *((name, number, None) for name in endpoint.output_caps),
            *((name, msgspec.Raw, _ABSENT) for name in endpoint.counted_fields),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(body_type).decode


def _several(names: tuple[str, ...]) -> Any:
    """Return a function from an object to the tuple of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_READERS: Final = {url: _BodyReader(endpoint) for url, endpoint in ENDPOINTS.items()}


def _repeats_a_key(line: bytes, envelope: _Envelope, spare: int) -> bool:
    """Return whether a key of the envelope stands twice in a line that is long enough for it."""
    if envelope.delivery_config:
        spare -= len(envelope.delivery_config) + _LEAST_DESTINATION_BYTES
        if spare <= _MOST_SPARE_BYTES:
            return False
    return has_repeated_key(line.replace(bytes(envelope.body), b"0", 1))


def _completed(
    envelope: _Envelope, reader: _BodyReader, body: Any, rules: ReadingRules
) -> ReadRequest | Refusal:
    body_bytes = bytes(envelope.body)
    wire_bytes = len(body_bytes) + reader.wire_bytes_beside
    if wire_bytes > rules.largest_line_bytes:
        return _too_large(wire_bytes, rules)
    payload_hash = xxh3_64_intdigest(body_bytes, reader.hash_seed)
    destination = (
        _destination_of(envelope.delivery_config, rules.reach) if envelope.delivery_config else None
    )
    if isinstance(destination, Refusal):
        return destination
    if destination is not None:
        payload_hash = xxh3_64_intdigest(destination.encode(), payload_hash)
    return ReadRequest(
        custom_id=envelope.custom_id,
        url=reader.url,
        model=body.model,
        body=body_bytes,
        delivery_config=destination,
        wire_bytes=wire_bytes,
        tokens=estimate_tokens(sum(map(len, reader.counted(body))), rules.safety_per_mille),
        output_tokens=_output_tokens(reader, body, rules) if reader.answers_with_tokens else 0,
        embedding_inputs=(
            count_embedding_inputs(bytes(body.input)) if reader.counts_embedding_inputs else 0
        ),
        id_hash=xxh3_64_intdigest(envelope.custom_id.encode()),
        payload_hash=payload_hash,
    )


def _output_tokens(reader: _BodyReader, body: Any, rules: ReadingRules) -> int:
    cap = None
    for value in reader.caps(body):
        if value is not None:
            cap = value
            break
    if cap is None and body.n is None:
        return rules.assumed_output_tokens
    return expected_output_tokens(cap, body.n, rules.assumed_output_tokens)


def _too_large(wire_bytes: int, rules: ReadingRules) -> Refusal:
    return Refusal(
        code=RefusalCode.LINE_TOO_LARGE,
        reason=(
            f"the request is {wire_bytes:,} bytes as it is sent; "
            f"at most {rules.largest_line_bytes:,} fit into a batch"
        ),
    )


def _destination_of(raw: msgspec.Raw, reach: Reach) -> str | Refusal | None:
    if raw == _NULL:
        return None
    config = bytes(raw)
    if len(config) > _LONGEST_KEPT_DESTINATION:
        return _read_destination(config, reach)
    return _known_destination(config, reach)


def _read_destination(config: bytes, reach: Reach) -> str | Refusal:
    try:
        destination = parse_destination(config)
    except BadInput as error:
        return Refusal(code=RefusalCode.INVALID_DESTINATION, reason=str(error))
    if (reason := reach.why_not(destination)) is not None:
        return Refusal(code=RefusalCode.DESTINATION_NOT_AVAILABLE, reason=reason)
    return canonical_json(destination)


_known_destination = lru_cache(maxsize=1_024)(_read_destination)


def _read_doubtful(line: bytes, rules: ReadingRules) -> ReadRequest | Refusal:
    if (fault := find_fault(line)) is not None:
        return fault
    try:
        envelope = _decode_envelope(line)
        reader = _READERS[envelope.url]
        body = reader.decode_any(envelope.body)
    except RecursionError:
        return Refusal(
            code=RefusalCode.NESTED_TOO_DEEPLY, reason="objects or arrays nest too deeply"
        )
    except msgspec.DecodeError as error:
        return Refusal(code=RefusalCode.NOT_JSON, reason=f"cannot be read: {error}")
    # Of a key that stands twice the last value counts, as for every JSON reader.
    body.model = msgspec.json.decode(body.model, type=str)
    for name in ("n", *reader.cap_names):
        setattr(body, name, _whole_number(getattr(body, name)))
    return _completed(envelope, reader, body, rules)


def _whole_number(raw: msgspec.Raw | None) -> int | None:
    """Return the number if it is one that a provider could mean; others are its business."""
    digits = b"" if raw is None else bytes(raw)
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None
