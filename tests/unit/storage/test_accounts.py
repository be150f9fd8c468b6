from datetime import timedelta

from factories import ACCOUNT, Store, chat_lines, policy

from storage.accounts import end_trouble, probe_is_due, record_trouble, trouble_of
from storage.claims import claim_next
from storage.ledger import now


def trouble(store: Store, account: str = ACCOUNT) -> str | None:
    with store.ledger.transaction() as reader:
        return trouble_of(reader, account)


def due(store: Store) -> bool:
    with store.ledger.transaction() as reader:
        return probe_is_due(reader, ACCOUNT)


def test_an_account_in_trouble_stops_its_lanes_until_it_works_again(store: Store) -> None:
    store.take_in(chat_lines(3))
    assert record_trouble(store.ledger, ACCOUNT, "invalid key")
    assert claim_next(store.ledger, policy()) is None
    assert store.value("SELECT wait_reason FROM lanes") == "account"
    assert end_trouble(store.ledger, ACCOUNT)
    assert claim_next(store.ledger, policy()) == 1
    assert store.value("SELECT wait_reason FROM lanes") is None


def test_trouble_is_news_once_and_its_end_too(store: Store) -> None:
    assert record_trouble(store.ledger, ACCOUNT, "invalid key")
    since = store.value("SELECT trouble_since FROM accounts")
    assert not record_trouble(store.ledger, ACCOUNT, "invalid key")
    assert store.value("SELECT trouble_since FROM accounts") == since
    assert end_trouble(store.ledger, ACCOUNT)
    assert not end_trouble(store.ledger, ACCOUNT)
    assert record_trouble(store.ledger, ACCOUNT, "no credit")
    assert trouble(store) == "no credit"
    assert store.value("SELECT count(*) FROM accounts") == 1
    moves = store.rows("SELECT target FROM transitions WHERE entity = 'account'")
    assert [move["target"] for move in moves] == ["refused", "working", "refused"]


def test_another_account_goes_on(store: Store) -> None:
    store.take_in(chat_lines(3))
    record_trouble(store.ledger, "other@http://provider", "invalid key")
    assert trouble(store) is None
    assert claim_next(store.ledger, policy()) == 1


def test_a_stopped_account_is_probed_after_its_pause_only(store: Store) -> None:
    assert not due(store)
    record_trouble(store.ledger, ACCOUNT, "invalid key")
    assert not due(store)
    store.run("UPDATE accounts SET next_probe_at = ?", now() - timedelta(seconds=1))
    assert due(store)
    record_trouble(store.ledger, ACCOUNT, "invalid key")
    assert not due(store)
    end_trouble(store.ledger, ACCOUNT)
    assert not due(store)
