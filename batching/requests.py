"""Reading one request line: either a request that can be sent, or the reason why not."""

import msgspec


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
    """Output tokens that it is expected to cost at most or, without a maximum, usually."""
    embedding_inputs: int
    id_hash: int
    """xxh3_64 of the custom_id in UTF-8, unsigned."""
    payload_hash: int
    """xxh3_64 of url, body and delivery_config, unsigned."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a line was not accepted."""

    code: str
    reason: str
