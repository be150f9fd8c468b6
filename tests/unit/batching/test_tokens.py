import pytest

from batching.tokens import (
    LARGEST_COUNT,
    count_embedding_inputs,
    estimate_tokens,
    expected_output_tokens,
    per_mille,
)


@pytest.mark.parametrize(
    ("counted_bytes", "factor", "tokens"),
    [(0, 1.1, 1), (1, 1.0, 1), (7, 1.0, 2), (8, 1.0, 3), (35, 1.1, 11), (36, 1.1, 13)],
)
def test_tokens_are_a_byte_count_over_three_and_a_half_times_the_factor(
    counted_bytes: int, factor: float, tokens: int
) -> None:
    assert estimate_tokens(counted_bytes, per_mille(factor)) == tokens


def test_counts_stay_within_32_bits() -> None:
    assert estimate_tokens(10**12, 1_100) == LARGEST_COUNT
    assert expected_output_tokens(10**30, 3, 500) == LARGEST_COUNT


@pytest.mark.parametrize(
    ("cap", "choices", "tokens"),
    [(None, None, 500), (7, None, 7), (7, 3, 21), (None, 2, 1000), (0, 0, 500), (-1, -4, 500)],
)
def test_expected_output_is_the_cap_times_the_choices_or_the_assumption(
    cap: int | None, choices: int | None, tokens: int
) -> None:
    assert expected_output_tokens(cap, choices, 500) == tokens


@pytest.mark.parametrize(
    ("raw", "inputs"),
    [
        (b'"text"', 1),
        (b'["a"]', 1),
        (b' [ "a" , "b" ] ', 2),
        (b"[1,2,3]", 1),
        (b"[-1]", 1),
        (b"[[1,2],[3]]", 2),
        (b"[]", 1),
        (b"7", 1),
    ],
)
def test_embedding_inputs_are_the_strings_or_token_lists_in_the_array(
    raw: bytes, inputs: int
) -> None:
    assert count_embedding_inputs(raw) == inputs
