"""Limits that lanes have learned, and batches that wait because of them."""

from datetime import timedelta

from factories import Store, chat_lines

from batching.lifecycle import BatchState
from storage.lane_limits import forget_learned_limit
from storage.ledger import now


def test_what_a_forgotten_limit_kept_out_is_tried_at_once(store: Store) -> None:
    later = now() + timedelta(hours=1)
    for number in (1, 2):
        store.take_in(chat_lines(2, prefix=f"r{number}"), source_id=f"s{number}")
        store.bring_to(store.claim(), BatchState.UPLOADED)
    store.run("UPDATE batches SET not_before = ?, token_refusals = 2 - batch_id", later)
    store.run("UPDATE lanes SET learned_limit = 90000, backoff_until = ?", later)

    assert forget_learned_limit(store.ledger, 1, actor="me") == 90_000

    assert store.rows("SELECT learned_limit, backoff_until FROM lanes") == [
        {"learned_limit": None, "backoff_until": None}
    ]
    waiting = store.rows("SELECT not_before FROM batches ORDER BY batch_id")
    assert [row["not_before"] for row in waiting] == [None, later]
    assert forget_learned_limit(store.ledger, 1, actor="me") is None
