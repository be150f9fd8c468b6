"""Deliveries without a browser: what is listed, what may be done, and how it is worded."""

import asyncio
from pathlib import Path

import pytest
from delivery_ledger import CRM, SHOP, copy_of, state_of, store_with_deliveries
from factories import Store
from looks import Looker

from batching.access import ALL_SCOPES, Scope
from batching.settings import Settings
from dashboards.actions import deliveries as actions
from dashboards.context import DashboardContext
from dashboards.pages.delivery_letters import group_named, key_of
from dashboards.pages.delivery_words import discard_question
from dashboards.performing import Deed, Outcome, perform
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.redelivery import Selection
from storage.reports.deliveries import dead_letters

READ = frozenset({Scope.READ})


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_with_deliveries(tmp_path_factory.mktemp("deliveries") / "data").directory.root


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Store:
    return copy_of(folder, tmp_path / "data")


@pytest.fixture
def looker(store: Store) -> Looker:
    return Looker(store.directory)


def done(store: Store, deed: Deed, scopes: frozenset[Scope] = ALL_SCOPES) -> Outcome:
    site = Site.of(DashboardContext(settings=Settings(), directory=store.directory))
    return asyncio.run(perform(deed, site=site, visitor=Visitor(name="local", scopes=scopes)))


def group(store: Store, outcome: str) -> dict[str, object]:
    with store.ledger.transaction() as reader:
        (key,) = [key_of(one) for one in dead_letters(reader) if one["outcome"] == outcome]
        return group_named(reader, key) or {}


def test_each_destination_says_how_it_fares_and_the_worst_comes_first(looker: Looker) -> None:
    shown = looker.tile("/ui/deliveries", "destinations")
    assert shown.index(">https://crm.example<") < shown.index(">https://shop.example<")
    assert "it is gone" in shown
    assert ">Disabled<" in shown
    assert 'data-act="enable">Enable<' in shown
    assert "20.0%" in shown  # one of five attempts to the first


def test_a_destination_of_the_address_is_shown_alone(looker: Looker) -> None:
    shown = looker.tile(f"/ui/deliveries?dest={SHOP}", "destinations")
    assert "shop.example" in shown
    assert "crm.example" not in shown
    letters = looker.tile(f"/ui/deliveries?dest={SHOP}", "letters")
    assert "it answered 410: &lt;gone&gt;" in letters
    assert "crm.example" not in letters
    none = looker.tile("/ui/deliveries?dest=webhook:nobody", "destinations")
    assert "Nothing matches" in none


def test_dead_letters_are_grouped_by_destination_and_cause(looker: Looker) -> None:
    shown = looker.tile("/ui/deliveries", "letters")
    assert shown.count("<li data-id=") == 3
    assert "4 results given up" in shown
    assert "no text was given" in shown
    assert "crm-2" not in shown


def test_an_open_group_shows_its_dead_letters_with_their_requests(
    looker: Looker, store: Store
) -> None:
    key = key_of(group(store, "timeout"))
    shown = looker.tile(f"/ui/deliveries?open={key}", "letters")
    assert 'aria-expanded="true"' in shown
    wire_ids = [text.split('"')[0] for text in shown.split('href="/ui/requests/')[1:]]
    installation = store.ledger.installation()
    assert sorted(wire_ids) == [f"{installation}-{segment}" for segment in ("1-2", "1-3")]


@pytest.mark.parametrize(
    ("state", "found", "missing"),
    [
        ("pending", "crm-1", "crm-0"),
        ("delivered", "crm-0", "crm-1"),
        ("exhausted", "crm-2", "crm-0"),
        ("cancelled", "crm-5", "crm-0"),
    ],
)
def test_a_tab_lists_the_deliveries_of_its_state(
    looker: Looker, state: str, found: str, missing: str
) -> None:
    shown = looker.tile(f"/ui/deliveries?outcome={state}", "listed")
    assert f">{found}<" in shown
    assert f">{missing}<" not in shown
    assert looker.tile(f"/ui/deliveries?outcome={state}", "destinations") == ""


def test_attempts_are_filtered_by_destination_cause_and_time(looker: Looker) -> None:
    def ids(query: str) -> int:
        return looker.tile(f"/ui/deliveries?outcome=attempts{query}", "listed").count("<tr data-id")

    assert ids("") == 7
    assert ids("&cause=failed") == 5
    assert ids(f"&dest={SHOP}") == 2
    assert ids("&cause=gone") == 1
    assert ids("&since=1h") == 7
    assert ids("&since=2999-01-01") == 0
    assert ids("&q=crm-4") == 1
    assert "Nothing matches" in looker.tile("/ui/deliveries?outcome=attempts&q=zz", "listed")


def test_tabs_count_what_they_list(looker: Looker) -> None:
    shown = looker.tile("/ui/deliveries", "head")
    counts = [part.split("<")[0] for part in shown.split('class="count">')[1:]]
    assert counts == ["2", "4", "1", "2", "1", "7"]


def test_a_viewer_gets_no_button(looker: Looker) -> None:
    for tile in ("switch", "destinations", "letters"):
        assert "data-act" not in looker.tile("/ui/deliveries", tile, scopes=READ)
    shown = looker.tile("/ui/deliveries?outcome=exhausted", "listed", scopes=READ)
    assert "data-act" not in shown
    assert "checkbox" not in shown


def test_a_group_goes_again_and_nothing_else(store: Store) -> None:
    selection = group(store, "timeout")["selection"]
    assert isinstance(selection, Selection)
    outcome = done(store, actions.redeliver(selection))
    assert outcome.text.startswith("2 results on the way again")
    assert [state_of(store, number) for number in range(1, 9)] == [
        "delivered", "pending", "pending", "pending", "exhausted", "cancelled",
        "delivered", "exhausted",
    ]  # fmt: skip


def test_a_group_without_a_text_is_not_mistaken_for_others_of_its_cause(store: Store) -> None:
    store.run("UPDATE deliveries SET outcome = 'timeout' WHERE delivery_id = 5")
    with store.ledger.transaction() as reader:
        groups = [one for one in dead_letters(reader) if one["outcome"] == "timeout"]
        (bare,) = [one for one in groups if one["problem"] is None]
        found = group_named(reader, key_of(bare))
    assert found is not None
    assert done(store, actions.discard(found["selection"])).text == "1 result discarded."
    assert [state_of(store, number) for number in (3, 4, 5)] == [
        "exhausted", "exhausted", "cancelled"
    ]  # fmt: skip


def test_what_has_succeeded_is_left_alone_and_the_outcome_says_so(store: Store) -> None:
    outcome = done(store, actions.redeliver(Selection(target=CRM)))
    done_words, left_words = outcome.text.rstrip(".").split("; left alone: ")
    assert done_words == "3 results on the way again"
    assert set(left_words.split(", ")) == {
        "1 is being delivered", "1 is delivered already", "1 was given up"
    }  # fmt: skip
    assert state_of(store, 1) == "delivered"


def test_delivery_is_paused_and_resumed_for_one_and_for_all(store: Store) -> None:
    assert "is paused" in done(store, actions.hold([CRM], paused=True)).text
    assert "1 target is paused" in done(store, actions.hold(None, paused=True)).text
    again = done(store, actions.hold(None, paused=True))
    assert (again.tone, "held back already" in again.text) == ("info", True)
    assert done(store, actions.hold(None, paused=False)).text == "Delivery to 2 targets goes on."
    assert not store.value("SELECT count(*) FROM targets WHERE paused_at IS NOT NULL")


def test_a_disabled_destination_is_enabled(store: Store) -> None:
    assert "is enabled again" in done(store, actions.enable(SHOP)).text
    assert not store.value("SELECT count(*) FROM destinations WHERE disabled_at IS NOT NULL")
    assert "is tried again" in done(store, actions.enable(SHOP)).text


def test_a_viewer_cannot_act_even_if_he_sends_the_event(store: Store) -> None:
    outcome = done(store, actions.discard(Selection(target=CRM)), READ)
    assert outcome.tone == "error"
    assert state_of(store, 3) == "exhausted"


def test_discarding_asks_for_the_count() -> None:
    asked = str(discard_question(1234, " to crm").as_html())
    assert 'required pattern="1234"' in asked
    assert "Discard 1,234 results?" in asked
