"""Who may act, how it is worded, and what one look-out for all tabs means."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import get_ident

import pytest
from factories import Store, chat_lines

from batching.access import ALL_SCOPES, Scope
from batching.lifecycle import BatchState
from batching.settings import Settings
from dashboards.actions import batches, intake
from dashboards.context import DashboardContext
from dashboards.live import RESULTS_LAST_SECONDS
from dashboards.page import Look, Page
from dashboards.pages import batches as batches_page
from dashboards.pages import overview
from dashboards.pages.batch_words import question_about
from dashboards.pages.registry import DETAILS, LISTS, page_of
from dashboards.performing import Outcome, may_still, perform
from dashboards.places import Place
from dashboards.shell import page_tiles
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.access_tokens import create_token, revoke_token
from storage.intake_gate import read_pause

OPERATOR = Visitor(name="local", scopes=ALL_SCOPES)
VIEWER = Visitor(name="viewer", scopes=frozenset({Scope.READ}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.at(tmp_path)
    store.take_in(chat_lines(3))
    return store


@pytest.fixture
def site(store: Store) -> Site:
    return Site.of(DashboardContext(settings=Settings(), directory=store.directory))


def tiles_of(page: Page, site: Site, address: str, visitor: Visitor = OPERATOR) -> dict[str, str]:
    def read(reader: object) -> dict[str, str]:
        look = Look(
            reader=reader, place=Place.of(address), visitor=visitor, site=site,  # type: ignore[arg-type]  # it is one
            at=datetime.now(UTC),
        )  # fmt: skip
        return dict(page_tiles(page)(look))

    return site.live.reading(read)


def test_a_viewer_may_not_act_even_if_he_sends_the_event(site: Site, store: Store) -> None:
    store.claim()
    outcome = asyncio.run(perform(batches.cancel([1]), site=site, visitor=VIEWER))
    assert outcome.tone == "error"
    assert "`operate`" in outcome.text
    assert not store.value("SELECT cancel_requested FROM batches")


def test_a_right_that_was_taken_away_ends_at_once(site: Site) -> None:
    create_token(site.directory, name="anna", scopes=[Scope.READ, Scope.OPERATE])
    anna = Visitor(name="anna", scopes=frozenset({Scope.READ, Scope.OPERATE}))
    assert may_still(site.directory, anna, Scope.OPERATE)
    assert not may_still(
        site.directory, OPERATOR, Scope.OPERATE
    )  # he came before there were tokens
    revoke_token(site.directory, "anna")
    assert not may_still(site.directory, anna, Scope.OPERATE)


def test_a_deed_runs_in_a_thread_under_the_name_of_its_doer(site: Site, store: Store) -> None:
    seen: list[object] = []

    def deed(_ledger: object, actor: str) -> Outcome:
        seen.extend((get_ident(), actor))
        return Outcome(text="done")

    assert asyncio.run(perform(deed, site=site, visitor=OPERATOR)).text == "done"
    assert seen[0] != get_ident()
    assert seen[1] == "dashboard:local"
    del store


def test_a_deed_that_breaks_is_an_outcome_and_no_error(site: Site) -> None:
    def deed(_ledger: object, _actor: str) -> Outcome:
        raise OSError("/secret/path")

    outcome = asyncio.run(perform(deed, site=site, visitor=OPERATOR))
    assert outcome.tone == "error"
    assert "/secret" not in outcome.text


def test_the_outcome_counts_what_was_done_and_what_was_left_alone(site: Site, store: Store) -> None:
    store.bring_to(store.claim(), BatchState.SUBMITTED)
    done = asyncio.run(perform(batches.cancel([1]), site=site, visitor=OPERATOR))
    assert done == Outcome(text="Cancel of batch 1 requested (3 requests).")
    both = asyncio.run(perform(batches.restart([1, 99]), site=site, visitor=OPERATOR))
    assert both == Outcome(
        text="Nothing changed. Left alone: 1 there is no such batch, 1 has not failed (submitted).",
        tone="info",
    )


def test_intake_is_paused_and_goes_on(site: Site) -> None:
    asyncio.run(perform(intake.pause("full"), site=site, visitor=OPERATOR))
    found = read_pause(site.directory)
    assert found is not None
    assert found.actor == "dashboard:local"
    asyncio.run(perform(intake.resume(), site=site, visitor=OPERATOR))
    assert read_pause(site.directory) is None


def test_a_question_says_what_is_lost_and_what_is_kept(store: Store) -> None:
    store.bring_to(store.claim(), BatchState.SUBMITTED)
    batch = {
        "batch_id": 1, "state": "submitted", "requests": 4, "provider_completed": 1,
        "provider_failed": 1,
    }  # fmt: skip
    asked = question_about("cancel", [batch])
    assert asked.title == "Cancel batch 1?"
    assert "2 requests will not run" in asked.text
    assert "2 requests already answered: paid" in asked.text


@pytest.mark.parametrize(
    ("kind", "title"),
    [("cancel", "Cancel 2 of 3 batches?"), ("forget", "Delete the files of 1 of 3 batches?")],
)
def test_a_question_about_many_counts_only_those_to_which_it_can_be_done(
    kind: str, title: str
) -> None:
    batches = [
        {"batch_id": number, "state": state, "requests": 4, "provider_completed": 0,
         "provider_failed": 0}
        for number, state in enumerate(("submitted", "planned", "collected"), 1)
    ]  # fmt: skip
    assert question_about(kind, batches).title == title
    assert question_about("cancel", batches[:2]).title == "Cancel 2 batches?"


def test_however_many_ask_it_is_read_once_until_the_ledger_changes(
    site: Site, store: Store
) -> None:
    read: list[int] = []

    async def ask() -> None:
        live = site.live
        first = await live.follow()
        await asyncio.gather(*(live.shared("x", lambda: read.append(1)) for _ in range(20)))
        assert await live.follow(at_once=True) == first
        await live.shared("x", lambda: read.append(1))
        store.claim()
        assert await live.follow(at_once=True) == first + 1
        await live.shared("x", lambda: read.append(1))
        assert live.trouble is None

    asyncio.run(ask())
    assert len(read) == 2


def test_what_depends_on_the_time_is_read_again_although_the_ledger_rests(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    async def ask() -> None:
        first = await site.live.follow()
        await site.live.shared("x", lambda: read.append(1))
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + RESULTS_LAST_SECONDS)
        assert await site.live.follow() == first + 1
        await site.live.shared("x", lambda: read.append(1))

    asyncio.run(ask())
    assert len(read) == 2


def test_the_longer_pages_take_to_read_the_rarer_they_are_read(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def pass_on(seconds: float) -> None:
        clock[0] += seconds

    async def ask(read_seconds: float, then_seconds: float) -> bool:
        first = await site.live.follow(at_once=True)
        await site.live.shared("x", lambda: pass_on(read_seconds))
        with store.ledger.transaction() as transaction:
            transaction.record_move("batch", 1, "collected", source="ended")
        pass_on(then_seconds)
        return await site.live.follow() > first

    assert asyncio.run(ask(0.01, 1.0))
    assert not asyncio.run(ask(0.4, 3.5))
    assert asyncio.run(ask(0.4, 4.0))
    assert asyncio.run(ask(40.0, 10.0))  # as late as that, and never later


def test_one_tile_that_fails_leaves_the_others_alone(site: Site) -> None:
    def broken(_look: Look) -> None:
        raise ValueError("no <such> column")

    page = Page(
        menu="", title="", layout=batches_page.PAGE.layout,
        tiles={"broken": broken, "rows": batches_page.rows},  # type: ignore[dict-item]  # it never returns
    )  # fmt: skip
    shown = tiles_of(page, site, "/ui/batches")
    assert "Retry" in shown["broken"]
    assert "no &lt;such&gt; column" in shown["broken"]
    assert "No batch yet" in shown["rows"]


def test_the_batches_page_gives_buttons_to_operators_only(site: Site, store: Store) -> None:
    store.claim()
    assert 'data-act="cancel"' in tiles_of(batches_page.PAGE, site, "/ui/batches")["rows"]
    seen = tiles_of(batches_page.PAGE, site, "/ui/batches", VIEWER)
    assert "data-act" not in seen["rows"]


def test_the_first_page_teaches_only_while_nothing_is_there(site: Site, tmp_path: Path) -> None:
    assert tiles_of(overview.PAGE, site, "/ui")["welcome"] == ""
    fresh = Store.at(tmp_path / "fresh")
    empty = Site.of(DashboardContext(settings=Settings(), directory=fresh.directory))
    assert "curl -X POST" in tiles_of(overview.PAGE, empty, "/ui")["welcome"]


def test_what_needs_attention_leads_to_the_gravest_entry_of_the_list(
    site: Site, store: Store
) -> None:
    nothing = tiles_of(overview.PAGE, site, "/ui")["pipeline"]
    assert 'href="/ui" title="0 needs attention' in nothing
    store.claim()
    store.run("UPDATE jobs SET paused = true")
    store.run("UPDATE batches SET failures = 1")
    asyncio.run(site.live.follow(at_once=True))
    seen = tiles_of(overview.PAGE, site, "/ui")["pipeline"]
    assert 'href="/ui/batches/1" title="2 needs attention' in seen
    assert 'title="3 being sent' in seen
    assert 'title="0 at openai' in seen


def test_what_needs_attention_names_a_destination_as_deliveries_does(
    site: Site, store: Store
) -> None:
    store.run(
        "INSERT INTO targets (target, kind, openings, paused_at) "
        "VALUES ('webhook:https://crm.example:443', 'webhook', 0, now())"
    )
    shown = tiles_of(overview.PAGE, site, "/ui")["attention"]
    assert ">Paused: delivery to https://crm.example<" in shown


@pytest.mark.parametrize("name", sorted(LISTS))
def test_every_page_shows_an_empty_system_without_trouble(name: str, tmp_path: Path) -> None:
    fresh = Store.at(tmp_path / "fresh")
    site = Site.of(DashboardContext(settings=Settings(), directory=fresh.directory))
    shown = tiles_of(LISTS[name], site, Place(page=name).address)
    assert not [text for text in shown.values() if "cannot be shown" in text]


def test_every_tile_has_its_place_in_the_layout() -> None:
    for page in (*LISTS.values(), *DETAILS.values()):
        for name in page.tiles:
            assert f'data-tile="{name}"' in page.layout, (page.title, name)
    assert page_of(Place(page="nowhere")).title == "Not found"
