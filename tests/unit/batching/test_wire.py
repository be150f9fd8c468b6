import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.wire import LONGEST_WIRE_ID_BYTES, RequestRef, decode_wire_id, encode_wire_id

NUMBERS = st.integers(0, 999_999_999)


@given(installation=st.from_regex(r"[a-z0-9]{4,16}", fullmatch=True), segment=NUMBERS, row=NUMBERS)
def test_a_wire_id_leads_back_to_its_request(installation: str, segment: int, row: int) -> None:
    wire_id = encode_wire_id(installation, RequestRef(segment, row))
    assert decode_wire_id(installation, wire_id) == RequestRef(segment, row)
    assert re.fullmatch(r"[a-z0-9-]{1,64}", wire_id)
    assert len(wire_id) <= LONGEST_WIRE_ID_BYTES


@pytest.mark.parametrize(
    "wire_id",
    [
        "", "cafe0123", "cafe0123-1", "cafe0123-1-2-3", "cafe0123-1-2 ", "cafe0123-1-2\n",
        "CAFE0123-1-2", "cafe0123--1-2", "cafe0123-1--2", "beef0123-1-2", "cafe0123-1-x",
        "cafe0123-01-2", "cafe0123-1-002", "cafe0123-\u0661-\u0662", "cafe0123-1-1234567890",
        None, 7, ["cafe0123-1-2"], {"custom_id": "cafe0123-1-2"},
    ],
)  # fmt: skip
def test_what_we_did_not_write_is_none_of_ours(wire_id: object) -> None:
    assert decode_wire_id("cafe0123", wire_id) is None


@given(text=st.text())
def test_at_most_one_text_leads_to_a_request(text: str) -> None:
    ref = decode_wire_id("cafe0123", text)
    assert ref is None or encode_wire_id("cafe0123", ref) == text
