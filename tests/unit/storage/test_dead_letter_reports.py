"""What the pages of deliveries and settings read, counted by hand."""

from datetime import timedelta
from pathlib import Path

import pytest
from delivery_ledger import CRM, SHOP, copy_of, store_with_deliveries
from factories import Store
from report_ledger import look, terms

from storage.ledger import now
from storage.reports.dead_letters import Cause, letters_of, request_ids_of
from storage.reports.delivery_counts import delivery_counts
from storage.reports.switches import lane_limits, lane_switches, target_switches


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_with_deliveries(tmp_path_factory.mktemp("deliveries") / "data").directory.root


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Store:
    return copy_of(folder, tmp_path / "data")


def test_deliveries_are_counted_by_state_and_target_and_time(store: Store) -> None:
    whole = look(store, delivery_counts)
    assert whole == {
        "pending": 1, "delivered": 2, "exhausted": 4, "cancelled": 1, "attempts": 7
    }  # fmt: skip
    assert look(store, delivery_counts, target=SHOP) == {
        "pending": 0, "delivered": 1, "exhausted": 1, "cancelled": 0, "attempts": 2
    }  # fmt: skip
    later = now() + timedelta(hours=1)
    assert set(look(store, delivery_counts, since=later).values()) == {0}


def test_the_dead_letters_of_one_cause_are_listed_with_their_requests(store: Store) -> None:
    cause = Cause(target=CRM, outcome="timeout", problem="no answer within 30 s")
    found = look(store, letters_of, cause, most=10)
    assert {row["custom_id"] for row in found} == {"crm-2", "crm-3"}
    assert len(look(store, letters_of, cause, most=1)) == 1
    bare = Cause(target=CRM, outcome="connection_error", problem=None)
    assert [row["custom_id"] for row in look(store, letters_of, bare, most=10)] == ["crm-4"]


def test_deliveries_are_led_back_to_their_requests(store: Store) -> None:
    installation = store.ledger.installation()
    assert look(store, request_ids_of, [1, 8, 99]) == {
        1: f"{installation}-1-0", 8: f"{installation}-2-1"
    }  # fmt: skip
    assert look(store, request_ids_of, []) == {}


def test_switches_say_what_is_paused_and_what_waits(store: Store) -> None:
    store.run("UPDATE targets SET paused_at = now()::TIMESTAMP WHERE target = ?", SHOP)
    crm, shop = look(store, target_switches)
    assert (crm["target"], crm["paused_at"], crm["pending"]) == (CRM, None, 1)
    assert shop["paused_at"] is not None
    (lane,) = look(store, lane_switches)
    assert (lane["model"], lane["paused"], lane["pending"]) == ("gpt-4o-mini", False, 0)


def test_limits_come_with_what_was_learned(store: Store) -> None:
    store.run("UPDATE lanes SET learned_limit = 5000, learned_at = now()::TIMESTAMP")
    (lane,) = look(store, lane_limits, terms=terms())
    assert (lane["token_limit"], lane["limit_source"], lane["learned_limit"]) == (
        5000, "learned", 5000
    )  # fmt: skip
