from itertools import product

import pytest

from batching.lifecycle import (
    BATCH_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    FINAL_BATCH_STATES,
    FINAL_REQUEST_STATES,
    OPERATOR_REQUEST_TRANSITIONS,
    REQUEST_TRANSITIONS,
    RESERVING_BATCH_STATES,
    BatchState,
    DeliveryState,
    RequestState,
    final_states,
    sources_of,
)


def test_every_state_is_a_key_of_its_table() -> None:
    assert set(REQUEST_TRANSITIONS) == set(RequestState)
    assert set(BATCH_TRANSITIONS) == set(BatchState)
    assert set(DELIVERY_TRANSITIONS) == set(DeliveryState)


def test_nothing_leads_out_of_the_final_states() -> None:
    assert (
        frozenset({RequestState.SUCCEEDED, RequestState.FAILED, RequestState.CANCELLED})
        == FINAL_REQUEST_STATES
    )
    assert (
        frozenset({BatchState.COLLECTED, BatchState.FAILED, BatchState.CANCELLED})
        == FINAL_BATCH_STATES
    )
    assert final_states(DELIVERY_TRANSITIONS) == {DeliveryState.DELIVERED, DeliveryState.CANCELLED}


def test_every_state_can_come_to_an_end() -> None:
    for state in BatchState:
        reached, before = {state}, set[BatchState]()
        while reached != before:
            before = set(reached)
            reached |= {target for source in before for target in BATCH_TRANSITIONS[source]}
        assert reached & FINAL_BATCH_STATES


def test_only_an_operator_leads_a_request_out_of_its_end_and_never_out_of_success() -> None:
    assert set(OPERATOR_REQUEST_TRANSITIONS) == {RequestState.FAILED, RequestState.CANCELLED}
    assert sources_of(OPERATOR_REQUEST_TRANSITIONS, RequestState.PENDING) == (
        RequestState.FAILED,
        RequestState.CANCELLED,
    )


def test_what_may_exist_at_the_provider_reserves_capacity() -> None:
    assert {BatchState.SUBMITTING, BatchState.SUBMITTED} == RESERVING_BATCH_STATES


@pytest.mark.parametrize(("source", "target"), list(product(BatchState, BatchState)))
def test_a_batch_moves_exactly_along_its_table(source: BatchState, target: BatchState) -> None:
    assert (source in sources_of(BATCH_TRANSITIONS, target)) == (
        target in BATCH_TRANSITIONS[source]
    )
