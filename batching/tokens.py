"""How many tokens a request will take, estimated without a tokenizer (it works offline).

A token of English text is about four bytes of JSON; 3.5 errs on the safe side, because an
estimate that is too low gets a whole batch refused by the provider.
"""

from typing import Final

import msgspec

LARGEST_COUNT: Final = 2**31 - 1
"""Counts are stored in 32 bits; no real request comes near."""
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def per_mille(safety_factor: float) -> int:
    """Return the factor in thousandths, in which the estimate is exact."""
    return round(safety_factor * 1000)


def estimate_tokens(counted_bytes: int, safety_per_mille: int) -> int:
    """Return the input tokens of this many bytes: 3.5 bytes a token, times the factor."""
    tokens = -(-counted_bytes * 2 // 7)
    with_safety = -(-tokens * safety_per_mille // 1000) or 1
    return min(with_safety, LARGEST_COUNT)


def expected_output_tokens(cap: int | None, choices: int | None, assumed: int) -> int:
    """Return the output tokens of one request: its own maximum, else the usual size."""
    tokens = cap if cap is not None and cap > 0 else assumed
    times = choices if choices is not None and choices > 1 else 1
    return min(tokens * times, LARGEST_COUNT)


def count_embedding_inputs(raw: bytes) -> int:
    """Return how many inputs the JSON text of `input` holds; a list of token ids is one."""
    text = raw.lstrip()
    if not text.startswith(b"["):
        return 1
    first = text[1:].lstrip()[:1]
    if first.isdigit() or first == b"-":
        return 1
    return max(1, len(_decode_elements(text)))
