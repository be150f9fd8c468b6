from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.failure_policy import RetryLimits
from batching.lifecycle import RequestState
from storage.answer_files import NO_NUMBER, AnswerIndex
from storage.reconciliation import Reconciled, reconcile

LIMITS = RetryLimits(attempts=3, returns=10)
OUTCOMES = ("succeeded", "failed", "not_run", "may_pass")


def members(*rows: tuple[int, int], attempts: int = 0, cancel: bool = False) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "segment": [segment for segment, _ in rows],
            "row_index": [row for _, row in rows],
            "job_id": [1] * len(rows),
            "custom_id": [f"id-{segment}-{row}" for segment, row in rows],
            "attempts": [attempts] * len(rows),
            "returns": [0] * len(rows),
            "cancel_requested": [cancel] * len(rows),
        },
        schema={
            "segment": pl.Int32,
            "row_index": pl.Int32,
            "job_id": pl.Int32,
            "custom_id": pl.String,
            "attempts": pl.UInt8,
            "returns": pl.UInt8,
            "cancel_requested": pl.Boolean,
        },
    )


def index_of(*lines: tuple[int, int, str]) -> AnswerIndex:
    """Return an index of lines of which line n stands at offset n * 100."""
    index = AnswerIndex()
    for number, (segment, row, outcome) in enumerate(lines):
        said = {"segment": segment, "row_index": row, "file": 0, "offset": number * 100}
        for name, values in index.numbers.items():
            values.append(said.get(name, 10 if name == "length" else NO_NUMBER))
        index.outcomes.append(outcome)
        index.codes.append(None)
    return index


def settled(
    sent: pl.DataFrame,
    index: AnswerIndex,
    *,
    complete: bool = True,
    cancelled_outside: bool = False,
) -> Reconciled:
    return reconcile(
        sent, index, complete=complete, cancelled_outside=cancelled_outside, limits=LIMITS
    )


def states(found: Reconciled) -> list[str]:
    return found.requests["state"].to_list()


def test_every_request_gets_the_verdict_of_its_own_line_in_its_own_order() -> None:
    sent = members((1, 0), (1, 1), (2, 0), (2, 1))
    answers = index_of((2, 1, "may_pass"), (1, 1, "failed"), (2, 0, "not_run"), (1, 0, "succeeded"))
    found = settled(sent, answers)
    assert states(found) == ["succeeded", "failed", "pending", "pending"]
    assert found.requests["offset"].to_list() == [300, 100, 200, 0]
    assert found.requests["attempts_now"].to_list() == [1, 1, 0, 1]
    assert found.requests["returns_now"].to_list() == [0, 0, 1, 0]
    assert list(found.odd) == []


def test_success_wins_over_another_line_wherever_it_stands() -> None:
    answers = index_of((1, 0, "failed"), (1, 1, "succeeded"), (1, 0, "succeeded"), (1, 1, "failed"))
    found = settled(members((1, 0), (1, 1)), answers)
    assert states(found) == ["succeeded", "succeeded"]
    assert found.requests["offset"].to_list() == [200, 100]
    assert [(odd.offset, odd.reason) for odd in found.odd] == [
        (0, "the request has another line already"),
        (300, "the request has another line already"),
    ]


def test_of_two_successes_the_first_counts() -> None:
    answers = index_of((1, 0, "succeeded"), (1, 0, "succeeded"))
    found = settled(members((1, 0)), answers)
    assert found.requests["offset"].to_list() == [0]
    assert [odd.offset for odd in found.odd] == [100]


def test_a_line_of_another_batch_is_odd_and_changes_nothing() -> None:
    found = settled(members((1, 0)), index_of((1, 7, "succeeded"), (9, 0, "failed")))
    assert states(found) == ["pending"]
    assert [odd.reason for odd in found.odd] == ["its custom_id is none of this batch"] * 2


def test_a_request_is_missing_only_if_the_files_were_read_to_their_end() -> None:
    sent = members((1, 0), (1, 1))
    answers = index_of((1, 0, "succeeded"))
    assert states(settled(sent, answers, complete=True)) == ["succeeded", "pending"]
    unread = settled(sent, answers, complete=False)
    assert states(unread) == ["succeeded", "failed"]
    assert unread.requests["own_code"].to_list() == [None, "obm_results_unavailable"]


def test_a_missing_request_is_given_up_at_its_last_attempt() -> None:
    found = settled(members((1, 0), attempts=2), index_of())
    assert states(found) == ["failed"]
    assert found.requests["own_code"].to_list() == ["obm_results_missing"]


@pytest.mark.parametrize("outside", [True, False])
def test_cancelled_requests_are_not_bought_again(*, outside: bool) -> None:
    sent = members((1, 0), (1, 1), (1, 2), cancel=not outside)
    answers = index_of((1, 0, "succeeded"), (1, 1, "not_run"))
    found = settled(sent, answers, cancelled_outside=outside)
    assert states(found) == ["succeeded", "cancelled", "cancelled"]


def test_a_batch_without_any_line_and_a_batch_without_requests_are_settled() -> None:
    assert states(settled(members((1, 0)), AnswerIndex())) == ["pending"]
    nothing = settled(members(), index_of((1, 0, "succeeded")))
    assert nothing.requests.height == 0
    assert len(nothing.odd) == 1


LINES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 6), st.sampled_from(OUTCOMES)), max_size=40
)
SENT = st.sets(st.tuples(st.integers(1, 3), st.integers(0, 6)), max_size=21)


@given(
    sent=SENT,
    lines=LINES,
    attempts=st.integers(0, 2),
    complete=st.booleans(),
    outside=st.booleans(),
    cancel=st.booleans(),
)
def test_nothing_is_lost_and_nothing_counts_twice_whatever_the_files_hold(
    sent: set[tuple[int, int]],
    lines: list[tuple[int, int, str]],
    attempts: int,
    *,
    complete: bool,
    outside: bool,
    cancel: bool,
) -> None:
    rows = sorted(sent)
    found = settled(
        members(*rows, attempts=attempts, cancel=cancel),
        index_of(*lines),
        complete=complete,
        cancelled_outside=outside,
    )
    assert list(found.requests.select("segment", "row_index").iter_rows()) == rows
    counts = {state: found.count(state) for state in RequestState}
    assert counts[RequestState.BATCHED] == 0
    assert sum(counts.values()) == len(sent)
    used = found.requests["offset"].drop_nulls().to_list()
    odd = [record.offset for record in found.odd]
    assert Counter(used + odd) == Counter(number * 100 for number in range(len(lines)))
    paid = {(segment, row) for segment, row, outcome in lines if outcome == "succeeded"}
    won = found.requests.filter(pl.col("state") == "succeeded").select("segment", "row_index")
    assert set(won.iter_rows()) == paid & sent
