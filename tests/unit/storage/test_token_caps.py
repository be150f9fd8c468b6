"""Token caps that operators set: kept, on record, and in force for the very next batch."""

import pytest
from factories import MODEL, Store, chat_lines, policy, token_limit
from report_ledger import look, terms

from batching.errors import BadInput
from batching.lifecycle import BatchState
from storage.claims import claim_next
from storage.lanes import read_lanes, room_for
from storage.ledger import now
from storage.reports.batch import why_it_waits
from storage.reports.switches import cap_forecast, token_caps_report
from storage.token_caps import read_token_caps, reset_token_cap, set_token_cap, token_caps_in


def tokens_of_one(store: Store) -> int:
    return int(store.value("SELECT max(tokens) FROM requests"))


def moves(store: Store) -> list[tuple[str, str, str, str]]:
    rows = store.rows(
        "SELECT entity, entity_id, target, reason FROM transitions WHERE actor = 'mia' "
        "ORDER BY happened_at, rowid"
    )
    return [(row["entity"], row["entity_id"], row["target"], row["reason"]) for row in rows]


def test_a_cap_is_kept_changed_and_reset_and_all_of_it_is_on_record(store: Store) -> None:
    assert set_token_cap(store.ledger, "GPT-4o", 500, actor="mia").before is None
    assert set_token_cap(store.ledger, "gpt-4o", 700, actor="mia").before == 500
    assert look(store, read_token_caps) == {"gpt-4o": 700}
    assert token_caps_in(store.directory) == {"gpt-4o": 700}
    assert reset_token_cap(store.ledger, "gpt-4O", actor="mia") == 700
    assert reset_token_cap(store.ledger, "gpt-4o", actor="mia") is None
    assert look(store, read_token_caps) == {}
    assert moves(store) == [
        ("token_cap", "gpt-4o", "set", "500 tokens"),
        ("token_cap", "gpt-4o", "set", "700 tokens, before 500"),
        ("token_cap", "gpt-4o", "reset", "700 tokens had been set"),
    ]


@pytest.mark.parametrize("tokens", [0, -5, 10**12 + 1])
def test_a_cap_that_is_none_is_refused_and_changes_nothing(store: Store, tokens: int) -> None:
    with pytest.raises(BadInput, match="is no cap"):
        set_token_cap(store.ledger, "gpt-4o", tokens, actor="mia")
    with pytest.raises(BadInput, match="cannot begin"):
        set_token_cap(store.ledger, " ", 5, actor="mia")
    assert (look(store, read_token_caps), moves(store)) == ({}, [])


def test_the_next_batch_keeps_to_a_cap_set_meanwhile_and_to_none_after_its_reset(
    store: Store,
) -> None:
    store.take_in(chat_lines(7))
    one, rules = tokens_of_one(store), policy()
    set_token_cap(store.ledger, MODEL, 2 * one, actor="mia")
    first = claim_next(store.ledger, rules)
    assert store.value("SELECT requests FROM batches WHERE batch_id = ?", first) == 2
    assert claim_next(store.ledger, rules) is None
    set_token_cap(store.ledger, MODEL, 5 * one, actor="mia")
    second = claim_next(store.ledger, rules)
    assert store.value("SELECT requests FROM batches WHERE batch_id = ?", second) == 3
    reset_token_cap(store.ledger, MODEL, actor="mia")
    third = claim_next(store.ledger, rules)
    assert store.value("SELECT requests FROM batches WHERE batch_id = ?", third) == 2


def test_an_uploaded_batch_waits_for_the_room_of_a_lower_cap_and_the_page_says_why(
    store: Store,
) -> None:
    store.take_in(chat_lines(4))
    one = tokens_of_one(store)
    half = token_limit(2 * one, certain=False)
    store.bring_to(store.claim(token_limit_of=half), BatchState.SUBMITTED)
    waiting = store.bring_to(store.claim(), BatchState.UPLOADED)
    set_token_cap(store.ledger, MODEL, 3 * one, actor="mia")

    def has_room() -> bool:
        rule, pause = policy().token_limit_of, {"longest_pause_seconds": 60.0}
        return bool(look(store, room_for, waiting.batch_id, token_limit_of=rule, **pause))

    assert not has_room()
    why = look(store, why_it_waits, waiting.batch_id, terms=terms())
    assert (why["reason"], why["token_limit"], why["limit_source"]) == (
        "capacity", 3 * one, "operator"
    )  # fmt: skip
    reset_token_cap(store.ledger, MODEL, actor="mia")
    assert has_room()


def test_what_the_provider_names_after_a_cap_was_set_lowers_it_and_a_new_cap_forgets_that(
    store: Store,
) -> None:
    store.take_in(chat_lines(1))
    store.run("UPDATE lanes SET learned_limit = 400, learned_at = ?, refusals = 3", now())
    assert set_token_cap(store.ledger, "gpt-4o", 300, actor="mia").forgotten == 0
    assert limit(store) == (300, True)
    assert set_token_cap(store.ledger, "gpt-4o", 900, actor="mia").forgotten == 1
    assert limit(store) == (900, True)
    assert store.value("SELECT refusals FROM lanes") == 0
    store.run("UPDATE lanes SET learned_limit = 800, learned_at = ?", now())
    assert limit(store) == (800, True)
    (cap,) = look(store, token_caps_report, terms=terms())
    assert (cap["tokens"], cap["lowered_to"]) == (900, 800)


def limit(store: Store) -> tuple[int | None, bool]:
    (lane,) = look(store, read_lanes, policy(), at=now())
    return lane.view.token_limit, lane.view.token_limit_certain


def test_a_longer_name_has_its_own_cap_and_the_report_tells_the_use_of_each(store: Store) -> None:
    store.take_in(chat_lines(2, model="gpt-4o"), name="a", source_id="s1")
    store.bring_to(store.claim(), BatchState.SUBMITTED)
    store.take_in(chat_lines(2, model="gpt-4o-mini"), name="b", source_id="s2")
    used = int(store.value("SELECT sum(tokens) FROM batches"))
    set_token_cap(store.ledger, "gpt", 4 * used, actor="mia")
    set_token_cap(store.ledger, "gpt-4o-mini", 7, actor="mia")
    set_token_cap(store.ledger, "o3", 9, actor="mia")
    broad, mini, other = look(store, token_caps_report, terms=terms())
    assert (broad["model"], broad["lanes"], broad["enqueued_tokens"]) == ("gpt", 1, used)
    assert broad["used_share"] == 0.25
    assert (mini["model"], mini["lanes"], mini["enqueued_tokens"]) == ("gpt-4o-mini", 1, 0)
    assert (other["model"], other["lanes"], other["set_by"]) == ("o3", 0, "mia")


def test_a_forecast_counts_what_a_cap_would_fail(store: Store) -> None:
    store.take_in(chat_lines(3))
    one = tokens_of_one(store)
    within = look(store, cap_forecast, "gpt", one, terms=terms())
    assert ([lane["model"] for lane in within["lanes"]], within["requests_above"]) == ([MODEL], 0)
    assert look(store, cap_forecast, "gpt", one - 1, terms=terms())["requests_above"] == 3
    set_token_cap(store.ledger, "gpt-4o", 10**6, actor="mia")
    assert look(store, cap_forecast, "gpt", 1, terms=terms()) == {"lanes": [], "requests_above": 0}
