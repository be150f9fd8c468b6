"""`obm deliveries|destinations|redeliver`: results that are pushed, seen and brought again."""

import json

import pytest
from command_line import Obm
from factories import Store, chat_lines

TARGET = "webhook:http://example.com:80"
CONFIG = '{"type":"webhook","webhook_url":"http://example.com/"}'


@pytest.fixture(name="pushed")
def pushed_fixture(store: Store) -> Store:
    """Return a store with three results of a job, of which one could not be delivered."""
    store.take_in(chat_lines(3), name="tickets")
    store.run(
        "INSERT INTO destinations VALUES (1, ?, 'webhook', ?, now(), NULL, NULL)", CONFIG, TARGET
    )
    store.run("INSERT INTO targets (target, kind, openings) VALUES (?, 'webhook', 0)", TARGET)
    store.run("UPDATE requests SET destination_id = 1")
    store.answer_all(store.ended())
    store.run("UPDATE deliveries SET state = 'delivered' WHERE row_index < 2")
    store.run(
        "UPDATE deliveries SET state = 'exhausted', attempts = 10, problem = 'HTTP 500' "
        "WHERE row_index = 2"
    )
    return store


@pytest.mark.usefixtures("pushed")
def test_dead_letters_are_listed_with_their_problem(obm: Obm) -> None:
    said = obm("deliveries", "--state", "exhausted")
    assert said.code == 0
    assert ("id-2" in said.out, "HTTP 500" in said.out, "id-1" in said.out) == (True, True, False)
    (row,) = json.loads(obm("deliveries", "--state", "exhausted", "--json").out)
    assert (row["custom_id"], row["target"], row["attempts"]) == ("id-2", TARGET, 10)


@pytest.mark.usefixtures("pushed")
def test_an_unknown_state_is_answered_with_those_that_exist(obm: Obm) -> None:
    said = obm("deliveries", "--state", "dead")
    assert (said.code, "exhausted" in said.err) == (2, True)


def test_dead_letters_are_brought_again_and_the_others_left_alone(obm: Obm, pushed: Store) -> None:
    assert "1 results are brought again" in obm("redeliver", "--job", "tickets").out
    assert pushed.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 1
    actor = pushed.value("SELECT actor FROM transitions WHERE target = 'redelivered'")
    assert actor.startswith("cli")
    assert "nothing to bring again" in obm("redeliver", "--job", "tickets").out


def test_delivered_results_are_brought_again_only_when_they_are_named(
    obm: Obm, pushed: Store
) -> None:
    assert obm("redeliver", "--all").code == 2
    assert (
        "2 results" in obm("redeliver", "--all", "--custom-id", "id-0", "--custom-id", "id-2").out
    )
    assert pushed.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 2


def test_a_disabled_destination_is_shown_and_can_be_enabled(obm: Obm, pushed: Store) -> None:
    pushed.run(
        "UPDATE destinations SET disabled_at = now(), disabled_because = 'it answered 410' "
        "WHERE destination_id = 1"
    )
    shown = obm("destinations").out
    assert ("disabled" in shown, "it answered 410" in shown) == (True, True)
    assert obm("destinations", "--enable", TARGET).code == 0
    assert pushed.value("SELECT disabled_at FROM destinations WHERE destination_id = 1") is None
    assert obm("destinations", "--enable", "webhook:nobody").code == 2


def test_without_deliveries_they_say_where_results_are(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(1))
    assert "outbox" in obm("deliveries").out


@pytest.mark.usefixtures("pushed")
def test_redelivery_of_what_is_not_there_says_so(obm: Obm) -> None:
    said = obm("redeliver", "--job", "ticket")
    assert (said.code, "did you mean 'tickets'" in said.err) == (2, True)
    said = obm("redeliver", "--all", "--batch", "4711")
    assert (said.code, "there is no batch 4711" in said.err) == (2, True)
