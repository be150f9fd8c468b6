from decimal import Decimal

import pytest
from factories import RETRY_LIMITS, Store, chat_lines, policy, rates

from batching.failure_policy import RetryLimits
from batching.lifecycle import BatchState
from storage.batches import Batch
from storage.endings import Ending, fail_lines, fail_requests, return_requests
from storage.jobs import cancel_job
from storage.lanes import budget_left_usd
from storage.ledger import now

REFUSED = Ending(code="token_limit_exceeded", reason="too many tokens")
RETURNED = Ending(code="expired", reason="never ran", adds_return=True)
LOST = Ending(code="batch_lost", reason="404", adds_attempt=True, worn_out_code="obm_batch_lost")


def submitted(store: Store, count: int = 3) -> Batch:
    store.take_in(chat_lines(count))
    return store.bring_to(store.claim(), BatchState.SUBMITTED)


def give_back(
    store: Store, batch: Batch, ending: Ending, limits: RetryLimits = RETRY_LIMITS
) -> None:
    with store.ledger.transaction() as transaction:
        return_requests(transaction, batch, ending, limits=limits)


def requests(store: Store) -> list[tuple[object, ...]]:
    rows = store.rows(
        "SELECT state, attempts, returns, error_code FROM requests ORDER BY row_index"
    )
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("ending", "counted"), [(REFUSED, (0, 0)), (RETURNED, (0, 1)), (LOST, (1, 0))]
)
def test_requests_of_a_batch_without_results_wait_again(
    store: Store, ending: Ending, counted: tuple[int, int]
) -> None:
    batch = submitted(store)
    give_back(store, batch, ending)
    assert requests(store) == [("pending", *counted, None)] * 3
    assert store.value("SELECT count(batch_id) FROM requests") == 0
    (row,) = store.rows("SELECT state, returned, failed, fault_code FROM batches")
    assert tuple(row.values()) == ("failed", 3, 0, ending.code)


def test_ending_a_batch_twice_counts_once(store: Store) -> None:
    batch = submitted(store)
    give_back(store, batch, RETURNED)
    give_back(store, batch, RETURNED)
    assert requests(store) == [("pending", 0, 1, None)] * 3
    again = store.bring_to(store.claim(), BatchState.SUBMITTED)
    give_back(store, batch, RETURNED)
    assert store.states() == {"batched": 3}
    give_back(store, again, RETURNED)
    assert requests(store) == [("pending", 0, 2, None)] * 3


@pytest.mark.parametrize(
    ("ending", "attempts", "returns", "state"),
    [
        (LOST, 1, 0, "pending"),
        (LOST, 2, 0, "failed"),
        (RETURNED, 0, 9, "pending"),
        (RETURNED, 0, 10, "failed"),
        (REFUSED, 2, 10, "pending"),
        (REFUSED, 0, 11, "pending"),
    ],
)
def test_a_request_is_worn_out_exactly_at_its_limit(
    store: Store, ending: Ending, attempts: int, returns: int, state: str
) -> None:
    batch = submitted(store)
    counters = "attempts = ?, returns = ?"
    store.run(f"UPDATE requests SET {counters} WHERE row_index = 1", attempts, returns)
    give_back(store, batch, ending)
    found = requests(store)
    assert [found[0][0], found[2][0]] == ["pending", "pending"]
    assert found[1][0] == state
    assert (found[1][3] == ending.worn_out_code) is (state == "failed")
    (row,) = store.rows("SELECT failed, returned FROM batches")
    assert tuple(row.values()) == ((1, 2) if state == "failed" else (0, 3))


def test_cancelled_requests_do_not_wait_again(store: Store) -> None:
    batch = submitted(store)
    cancel_job(store.ledger, "job", actor="test")
    give_back(store, batch, RETURNED)
    assert {row[0] for row in requests(store)} == {"cancelled"}
    assert store.value("SELECT cancelled FROM batches") == 3


def test_lines_that_the_provider_named_fail_and_the_others_go_again(store: Store) -> None:
    batch = submitted(store, count=5)
    with store.ledger.transaction() as transaction:
        named = [1, 4, 99]
        assert fail_lines(transaction, batch, named, request_code="obm_batch_refused") == 2
        return_requests(transaction, batch, RETURNED, limits=RETRY_LIMITS)
    states = [row[0] for row in requests(store)]
    assert states == ["failed", "pending", "pending", "failed", "pending"]
    (row,) = store.rows("SELECT succeeded, failed, cancelled, returned FROM batches")
    assert tuple(row.values()) == (0, 2, 0, 3)


def test_a_refusal_of_the_whole_file_fails_every_request_once(store: Store) -> None:
    batch = submitted(store)
    for _ in range(2):
        with store.ledger.transaction() as transaction:
            fail_requests(transaction, batch, REFUSED, request_code="obm_batch_refused")
    assert requests(store) == [("failed", 0, 0, "obm_batch_refused")] * 3
    assert store.value("SELECT failed FROM batches") == 3


@pytest.mark.parametrize(("ending", "free"), [(REFUSED, True), (RETURNED, True), (LOST, False)])
def test_what_never_ran_costs_nothing_of_the_days_budget(
    store: Store, ending: Ending, *, free: bool
) -> None:
    store.take_in(chat_lines(3))
    money = {"rates_of": rates("0.0001"), "max_spend_per_day_usd": Decimal(5)}
    batch = store.bring_to(store.claim(**money), BatchState.SUBMITTED)
    give_back(store, batch, ending)
    with store.ledger.transaction() as reader:
        left = budget_left_usd(reader, policy(**money), at=now())
    assert left is not None
    assert (left == 5) is free


def test_a_batch_that_has_ended_already_is_not_given_back(store: Store) -> None:
    batch = store.bring_to(submitted(store), BatchState.ENDED)
    give_back(store, batch, LOST)
    assert store.states() == {"batched": 3}
