"""The requests page and the page of one request, without a browser."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from factories import Store, chat_line, chat_lines, not_run_line, success_line
from report_ledger import AT, TARGET, known_ledger

from batching.access import Scope
from batching.destinations import Reach
from batching.settings import Settings
from dashboards.actions import requests as actions
from dashboards.components.board import Event
from dashboards.components.confirm import Question
from dashboards.context import DashboardContext
from dashboards.markup import Html
from dashboards.page import Look
from dashboards.pages import request as one_page
from dashboards.pages import requests as page
from dashboards.performing import Deed, Outcome, perform
from dashboards.places import Place
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.reports.request import places_of, request_report
from storage.request_filter import RequestFilter

if TYPE_CHECKING:
    from dashboards.desk import Desk

OPERATOR = Visitor(name="local", scopes=frozenset(Scope))
VIEWER = Visitor(name="guest", scopes=frozenset({Scope.READ}))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled data directory that is made once; tests work on copies."""
    root = tmp_path_factory.mktemp("known") / "data"
    known_ledger(Store.at(root))
    return root


@pytest.fixture
def known(original: Path, tmp_path: Path) -> Store:
    shutil.copytree(original, tmp_path / "known")
    return Store.at(tmp_path / "known")


def site_of(store: Store) -> Site:
    settings = Settings(_env_file=None, openai_base_url="http://127.0.0.1:1/v1")
    return Site.of(DashboardContext(settings=settings, directory=store.directory))


def seen(
    store: Store, tile: Callable[[Look], Html], address: str, *, visitor: Visitor = OPERATOR
) -> str:
    with store.ledger.transaction() as reader:
        return tile(
            Look(
                reader=reader, place=Place.of(address), visitor=visitor, site=site_of(store), at=AT
            )
        )


def listed(store: Store, query: str, **named: Any) -> str:
    return seen(store, page.rows, f"/ui/requests?before=99-0&{query}", **named)


def id_of(store: Store, custom_id: str) -> str:
    row = store.rows("SELECT segment, row_index FROM requests WHERE custom_id = ?", custom_id)[0]
    installation = store.value("SELECT value FROM meta WHERE key = 'installation'")
    return f"{installation}-{row['segment']}-{row['row_index']}"


def shown(store: Store, custom_id: str, query: str = "", **named: Any) -> str:
    return seen(store, one_page.whole, f"/ui/requests/{id_of(store, custom_id)}{query}", **named)


class FakeDesk:
    """A desk at which somebody gives prepared answers."""

    def __init__(self, store: Store, address: str, *answers: Mapping[str, str] | None) -> None:
        self.site, self.place, self.visitor = site_of(store), Place.of(address), OPERATOR
        self.answers = list(answers)
        self.questions: list[Question] = []
        self.outcomes: list[Outcome] = []
        self.said: list[str] = []

    async def ask(self, question: Question) -> Mapping[str, str] | None:
        self.questions.append(question)
        return self.answers.pop(0)

    async def perform(self, deed: Deed) -> Outcome:
        self.outcomes.append(await perform(deed, site=self.site, visitor=self.visitor))
        return self.outcomes[-1]

    async def confirm_and_perform(self, question: Question, deed: Deed) -> Outcome | None:
        return None if await self.ask(question) is None else await self.perform(deed)

    def toast(self, text: str, _tone: str = "success") -> None:
        self.said.append(text)


def press(
    store: Store, act: str, address: str, *answers: Mapping[str, str] | None, **event: Any
) -> FakeDesk:
    desk = FakeDesk(store, address, *answers)
    deeds = (page if desk.place.id is None else one_page).PAGE.deeds
    asyncio.run(deeds[act](cast("Desk", desk), Event(action=act, **event)))
    return desk


# --- the list -------------------------------------------------------------------------------------


def test_the_list_is_bounded_by_the_newest_request_when_it_is_opened(known: Store) -> None:
    html = seen(known, page.forward, "/ui/requests?q=state:failed&page=2")
    assert "before=4-2" in html
    assert "page=2" in html
    assert seen(known, page.forward, "/ui/requests?before=4-2") == ""
    assert "skeleton" in seen(known, page.rows, "/ui/requests")


def test_later_requests_are_counted_and_not_listed(known: Store) -> None:
    html = seen(known, page.rows, "/ui/requests?before=3-1&sort=-tokens")
    assert "3 new" in html
    assert 'href="/ui/requests?sort=-tokens"' in html
    assert "four-0" not in html
    assert "Showing 1 to 11 of 11" in html


@pytest.mark.parametrize(
    ("query", "there", "not_there"),
    [
        ("q=state:failed+error:invalid_value", "one-0", "one-1"),
        ("state=pending", "four-0", "three-0"),
        ("batch=2&q=delivery:exhausted", "two-1", "two-0"),
        ("q=dest:webhook+model:local+-2", "two-2", "two-1"),
    ],
)
def test_the_filter_of_the_address_is_applied(
    known: Store, query: str, there: str, not_there: str
) -> None:
    html = listed(known, query)
    assert f">{there}<" in html
    assert f">{not_there}<" not in html


def test_tabs_count_under_the_rest_of_the_filter_and_replace_a_typed_state(known: Store) -> None:
    html = listed(known, "q=state:failed+model:gpt-4o-mini")
    assert 'Failed<span class="count">1</span>' in html
    assert 'Succeeded<span class="count">4</span>' in html
    assert 'href="/ui/requests?q=model%3Agpt-4o-mini&amp;state=succeeded"' in html


def test_chips_show_what_is_searched_by_and_take_it_away(known: Store) -> None:
    html = seen(known, page.filters, "/ui/requests?batch=2&q=state:failed+abc&before=1-1")
    assert 'href="/ui/requests?batch=2&amp;q=abc"' in html
    assert 'href="/ui/requests?q=state%3Afailed+abc"' in html
    assert 'aria-label="Remove the filter Batch: 2"' in html


def test_a_value_that_means_nothing_is_told(known: Store) -> None:
    assert "batch:x is not a number" in seen(known, page.filters, "/ui/requests?batch=x")


def test_exports_ask_for_the_same_filter(known: Store) -> None:
    html = seen(known, page.filters, "/ui/requests?state=failed&q=dest:webhook+a%26b+age:>1d")
    assert "format=csv&amp;state=failed&amp;destination=webhook&amp;custom_id_part=a%26b" in html
    assert "format=parquet" in html
    assert "until=2026-03-09T12%3A00%3A00%2B00%3A00" in html


def test_nothing_yet_and_nothing_matches_are_two_things(tmp_path: Path, known: Store) -> None:
    empty = Store.at(tmp_path / "empty")
    assert "No request yet" in seen(empty, page.rows, "/ui/requests")
    assert "curl -X POST" in seen(empty, page.rows, "/ui/requests")
    assert seen(empty, page.forward, "/ui/requests") == ""
    nothing = listed(known, "q=no-such-id")
    assert "No request matches" in nothing
    assert "Clear filters" in nothing
    assert "No request is in this state" in listed(known, "state=cancelled")


def test_what_waits_for_ingestion_stands_above(known: Store) -> None:
    known.directory.receiving.mkdir(parents=True, exist_ok=True)
    log = known.directory.inbox / "api-20260310T120000000000-0a0b0c0d.obmlog"
    log.write_bytes(b"{}\n" * 3)
    assert "3 requests are waiting for ingestion" in listed(known, "")
    (known.directory.inbox / "more.jsonl").write_bytes(b"{}\n")
    assert "3 requests and 1 file are waiting for ingestion" in listed(known, "")


def test_a_custom_id_leads_to_its_request_or_lists_its_jobs(known: Store) -> None:
    html = seen(known, page.forward, "/ui/requests?custom_id=four-0")
    assert f'data-forward="/ui/requests/{id_of(known, "four-0")}"' in html
    known.take_in(chat_lines(1, prefix="four"), name="five", source_id="s5")
    assert seen(known, page.forward, "/ui/requests?custom_id=four-0") == ""
    both = seen(known, page.rows, "/ui/requests?custom_id=four-0")
    assert "2 jobs have a request four-0" in both
    assert "No request has the custom_id nobody" in seen(
        known, page.rows, "/ui/requests?custom_id=nobody"
    )


def test_ids_and_jobs_cannot_bring_html_in(store: Store) -> None:
    store.take_in([chat_line("<img src=x>")], name="<b>job</b>")
    html = listed(store, "q=<img")
    assert "&lt;img src=x&gt;" in html
    assert "<img" not in html
    assert "<b>job" not in html
    assert "<img" not in seen(store, page.filters, "/ui/requests?q=<img")


def test_a_viewer_has_neither_ticks_nor_buttons(known: Store) -> None:
    assert "data-select" in listed(known, "")
    html = listed(known, "", visitor=VIEWER)
    assert "data-select" not in html
    assert "data-act" not in html
    assert "data-act" not in shown(known, "two-1", visitor=VIEWER)


# --- deeds on many ----------------------------------------------------------------------------


def test_a_selection_is_cancelled_and_the_toast_has_the_real_counts(known: Store) -> None:
    ids = tuple(id_of(known, name) for name in ("four-0", "three-0", "one-1"))
    desk = press(known, "cancel", "/ui/requests", {}, selected=ids)
    assert desk.questions[0].title == "Cancel 3 requests?"
    text = desk.outcomes[0].text
    assert "1 request cancelled." in text
    assert "1 request in a batch: cancel requested" in text
    assert "1 succeeded already" in text
    assert desk.outcomes[0].tone == "warning"
    assert known.states()["cancelled"] == 1
    reason = known.value("SELECT reason FROM transitions WHERE target = 'cancel_requested' "
                         "AND entity = 'request'")  # fmt: skip
    assert "places 4-0, 3-0, 1-1" in reason


def test_all_that_match_are_meant_up_to_the_bound_of_the_list(known: Store) -> None:
    known.take_in(chat_lines(5, prefix="late"), name="late", source_id="s9")
    desk = press(known, "cancel", "/ui/requests?before=4-2&state=pending", {}, all_matching=True,
                 selected=(id_of(known, "four-0"),))  # fmt: skip
    assert desk.questions[0].title == "Cancel 3 requests?"
    assert desk.outcomes[0].text == "3 requests cancelled."
    assert known.states()["pending"] == 5


def test_a_filter_that_means_nothing_touches_nothing(known: Store) -> None:
    desk = press(known, "cancel", "/ui/requests?batch=x", all_matching=True, selected=("a",))
    assert desk.said == ["No request is selected."]


def test_the_answer_no_changes_nothing(known: Store) -> None:
    before = known.states()
    press(known, "cancel", "/ui/requests", None, selected=(id_of(known, "four-0"),))
    assert known.states() == before


def test_dead_letters_are_redelivered_and_delivered_ones_only_on_demand(known: Store) -> None:
    address = "/ui/requests?before=9-0&q=dest:webhook"
    first = press(known, "redeliver", address, {}, all_matching=True, selected=("x",))
    assert first.outcomes[0].text == (
        "1 result on the way again. Left alone: 2 is being delivered, 1 is delivered already."
    )
    second = press(known, "redeliver", address, {"delivered": "on"}, all_matching=True)
    assert second.outcomes[0].text.startswith("1 result on the way again.")
    assert known.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 4


def test_failed_requests_run_again_and_the_rest_is_left_alone(known: Store) -> None:
    desk = press(known, "again", "/ui/requests?before=9-0&batch=1", {}, all_matching=True)
    assert desk.outcomes[0].text == ("1 request goes into a new batch. Left alone: 4 succeeded.")
    assert known.value("SELECT state FROM requests WHERE custom_id = 'one-0'") == "pending"


# --- one request ---------------------------------------------------------------------------------


def test_a_request_is_shown_with_its_way_and_its_attempts(known: Store) -> None:
    html = shown(known, "two-1")
    for words in (
        "Dead letter", "Accepted", "Sent to the provider", "Result received",
        "Delivery attempt 1", "timeout · 3,000 ms", "no answer", "Given up: a dead letter",
        "webhook receiver.example",
    ):  # fmt: skip
        assert words in html, words
    assert 'data-act="redeliver"' in html
    assert 'data-act="cancel"' not in html
    assert TARGET not in html


def test_the_body_can_be_copied_and_sent_again_as_curl(known: Store) -> None:
    html = shown(known, "one-1")
    assert "Copy JSON" in html
    assert "one-1-again" in html
    assert "/api/requests" in html
    assert '<span class="key">&quot;messages&quot;</span>' in html


def test_tabs_show_response_text_and_the_lines_byte_for_byte(store: Store) -> None:
    store.take_in([chat_line("a", text="Gr\u00fc\u00dfe \U0001f600", seed=1.0)])
    batch = store.ended()
    store.collect(batch, [success_line(store.wire_ids(batch)[0], content="the answer")])
    response = shown(store, "a", "?tab=response")
    assert "the answer" in response
    assert "finish reason stop" in response
    raw = shown(store, "a", "?tab=raw")
    assert "&quot;seed&quot;: 1.0" in raw
    assert "&quot;custom_id&quot;: &quot;a&quot;" in raw or "custom_id&quot;:&quot;a&quot;" in raw


def test_a_failed_request_says_why_and_offers_another_run(known: Store) -> None:
    html = shown(known, "one-0")
    assert "invalid_value" in html
    assert "refused with 400" in html
    assert 'data-act="again"' in html
    assert "q=state%3Afailed+error%3Ainvalid_value" in html


def test_the_answer_of_an_earlier_round_is_kept_and_shown(known: Store) -> None:
    press(known, "again", f"/ui/requests/{id_of(known, 'one-0')}", {})
    html = shown(known, "one-0", "?tab=earlier")
    assert "Sent again" in html
    assert "Result 1" in html
    assert "refused with 400" in html


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("wait_reason = 'filling'", "It gathers with others of its model"),
        ("wait_reason = 'capacity', wait_detail = 'all used'", "no room for more tokens"),
        ("wait_reason = 'paused'", "paused by an operator"),
        ("wait_reason = 'account'", "refuses the account"),
    ],
)
def test_a_waiting_request_says_why(known: Store, change: str, words: str) -> None:
    known.run(f"UPDATE lanes SET {change}")
    html = shown(known, "four-0")
    assert "Why waiting?" in html
    assert words in html


def test_a_request_of_a_paused_job_and_one_in_a_batch_say_why(known: Store) -> None:
    known.run("UPDATE jobs SET paused = true WHERE name = 'four'")
    assert "The job four is paused" in shown(known, "four-0")
    assert "The provider works on it" in shown(known, "three-0")


def test_a_cost_is_told_only_if_a_price_is_known(known: Store) -> None:
    assert "$" in shown(known, "one-1")
    assert "unknown: no price for this model" in shown(known, "two-0")


@pytest.mark.parametrize("request_id", ["nobody", "cafe0123-9-9", "-1-0", "<b>"])
def test_an_unknown_request_says_so_and_offers_the_search(known: Store, request_id: str) -> None:
    html = seen(known, one_page.whole, f"/ui/requests/{request_id}")
    assert "No such request" in html
    assert "Search for it" in html
    assert "<b>" not in html.replace('<b class="', "")


def test_a_request_whose_files_are_gone_is_still_shown(known: Store) -> None:
    for file in (*known.directory.segments.iterdir(), *known.directory.results.iterdir()):
        file.unlink()
    assert "The body is gone" in shown(known, "one-1")
    assert "The result is gone" in shown(known, "one-1", "?tab=response")


def test_one_request_is_cancelled(known: Store) -> None:
    desk = press(known, "cancel", f"/ui/requests/{id_of(known, 'four-1')}", {})
    assert desk.questions[0].title == "Cancel request four-1?"
    assert known.value("SELECT state FROM requests WHERE custom_id = 'four-1'") == "cancelled"
    again = press(known, "cancel", f"/ui/requests/{id_of(known, 'four-1')}", {})
    assert again.outcomes[0].text == "Nothing changed. Left alone: cancelled already."


def test_the_delivery_of_a_request_is_edited_and_validated_as_at_intake(known: Store) -> None:
    address = f"/ui/requests/{id_of(known, 'four-1')}"
    desk = press(
        known, "edit", address,
        {"type": "webhook", "webhook_url": "ftp://nowhere"},
        {"type": "rabbitmq", "rabbitmq_queue": "results"},
        {"type": "webhook", "webhook_url": "https://new.example/hook", "name": "left over"},
    )  # fmt: skip
    asked = [str(question.as_html()) for question in desk.questions]
    assert "must begin with http:// or https://" in asked[1]
    assert 'value="ftp://nowhere"' in asked[1]
    assert "RABBITMQ_URL is not set" in asked[2]
    assert desk.outcomes[0].tone == "success"
    assert known.value(
        "SELECT config FROM requests JOIN destinations USING (destination_id) "
        "WHERE custom_id = 'four-1'"
    ) == '{"type":"webhook","webhook_url":"https://new.example/hook"}'  # fmt: skip


def test_a_delivered_result_stays_where_it_is(known: Store) -> None:
    request = {"segment": 2, "row_index": 0, "id": id_of(known, "two-0"), "delivery_config": "{}"}
    config = {"type": "webhook", "webhook_url": "https://new.example/hook"}
    deed = actions.edit_delivery(request, config, reach=Reach())
    assert deed(known.ledger, "test").text == (
        "Nothing changed. Left alone: its delivery is delivered."
    )


def test_a_viewer_is_refused_even_if_he_presses_a_button(known: Store) -> None:
    deed = actions.cancel(RequestFilter())
    outcome = asyncio.run(perform(deed, site=site_of(known), visitor=VIEWER))
    assert outcome.tone == "error"
    assert "cancelled" not in known.states()


# --- the report ------------------------------------------------------------------------------


def test_the_report_has_deliveries_with_their_attempts(known: Store) -> None:
    with known.ledger.transaction() as reader:
        found = request_report(reader, id_of_in(known, reader, "two-1"), terms=site_of(known).terms)
        assert request_report(reader, "x", terms=site_of(known).terms) is None
    assert found is not None
    assert [one["outcome"] for one in found["deliveries"][0]["tries"]] == ["timeout"]
    assert found["batch"]["batch_id"] == 2
    assert found["cost_usd"] is None
    assert found["waiting"] is None


def id_of_in(store: Store, reader: Any, custom_id: str) -> str:
    del store
    row = reader.row("SELECT segment, row_index FROM requests WHERE custom_id = ?", custom_id)
    installation = reader.value("SELECT value FROM meta WHERE key = 'installation'")
    return f"{installation}-{row['segment']}-{row['row_index']}"


def test_ids_of_other_installations_are_left_out(known: Store) -> None:
    with known.ledger.transaction() as reader:
        mine = id_of_in(known, reader, "one-1")
        assert places_of(reader, [mine, "other123-1-1", "what"]) == [(1, 1)]


def test_a_request_that_came_back_unexecuted_says_so(store: Store) -> None:
    store.take_in(chat_lines(1, prefix="r"))
    batch = store.ended(status="expired")
    store.collect(batch, [], [not_run_line(store.wire_ids(batch)[0])])
    html = shown(store, "r-0")
    assert "Came back" in html
    assert "1 time without having run" in html
