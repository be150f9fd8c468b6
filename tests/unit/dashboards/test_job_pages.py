"""Pages of jobs and of analytics, without a browser."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import Store, chat_lines, failure_line, success_line
from looks import Looker

from batching.access import Scope
from batching.errors import BadInput
from batching.jobs import JobSettings
from dashboards.actions import jobs as actions
from dashboards.components.table import Action
from dashboards.pages.analytics_choice import choice_of
from dashboards.pages.job_words import all_actions, question_about, row_actions
from dashboards.places import Place
from dashboards.wording import UNKNOWN
from storage.reports.job_facts import job_with_facts
from storage.reports.terms import Terms
from storage.snapshots import snapshot

NOON = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
LOOKING = (Scope.READ,)


@pytest.fixture
def looker(store: Store) -> Looker:
    return Looker(store.directory)


def facts(store: Store, looker: Looker, name: str) -> dict[str, Any]:
    with snapshot(store.directory, max_age_seconds=0) as reader:
        found = job_with_facts(reader, name=name, terms=Terms.of(looker.settings))
    assert found is not None
    return found


def acts(buttons: Iterable[Action]) -> list[str]:
    return [button.act for button in buttons]


def test_what_can_be_done_to_a_job_depends_on_where_it_stands(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    job = facts(store, looker, "one")
    assert acts(all_actions(job)) == ["send", "pause", "cancel"]
    actions.send_now("one")(store.ledger, "tester")
    assert "send" not in acts(all_actions(facts(store, looker, "one")))
    actions.pause("one")(store.ledger, "tester")
    assert acts(row_actions(facts(store, looker, "one"))) == ["resume", "cancel"]
    store.take_in(chat_lines(2, prefix="more"), name="one", source_id="s2")
    actions.resume("one")(store.ledger, "tester")


def test_a_finished_job_offers_only_what_makes_sense(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    store.answer_all(store.ended())
    assert all_actions(facts(store, looker, "one")) == []


def test_a_question_states_the_counts(store: Store, looker: Looker) -> None:
    hook = {"type": "webhook", "webhook_url": "https://example.com/x"}
    settings = JobSettings.model_validate({"delivery_config": hook})
    store.take_in(chat_lines(3), name="one", source_id="s1", settings=settings)
    batch = store.ended()
    first, *others = store.wire_ids(batch)
    store.collect(batch, output=[success_line(one) for one in others], error=[failure_line(first)])
    store.run("UPDATE deliveries SET state = 'exhausted'")
    job = facts(store, looker, "one")
    assert "3 results that were given up" in str(question_about("redeliver", job).text)
    assert "3 results are pushed again" in str(question_about("redeliver-all", job).text)
    assert "1 failed request" in str(question_about("retry-failed", job).text)
    assert "0 requests in batches" in str(question_about("cancel", job).text)


def test_deeds_tell_what_they_did_and_refuse_unknown_jobs(store: Store) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    assert actions.send_now("one")(store.ledger, "t").text == "2 requests of one go now."
    assert actions.retry("one")(store.ledger, "t").text == "No request of one has failed."
    nothing = actions.redeliver_all("one")(store.ledger, "t")
    assert nothing.text == "Nothing of one is there to redeliver."
    store.claim()
    store.take_in(chat_lines(1, prefix="x"), name="one", source_id="s2")
    paused = actions.pause("one")(store.ledger, "t")
    assert (paused.tone, actions.pause("one")(store.ledger, "t").tone) == ("success", "info")
    for deed in actions.BY_NAME.values():
        with pytest.raises(BadInput, match="no job is called 'nobody'"):
            deed("nobody")(store.ledger, "t")


def test_names_of_jobs_cannot_break_into_the_page(store: Store, looker: Looker) -> None:
    name = '<img src=x onerror="alert(1)">'
    store.take_in(chat_lines(1), name="one", source_id="s1", settings=JobSettings(label=name))
    listed = looker.tile("/ui/jobs", "rows")
    assert "<img" not in listed
    assert "&lt;img" in listed
    address = Place(page="jobs", id=name).address
    assert "<img" not in looker.tile(address, "whole")


def test_a_job_whose_file_has_just_come_is_on_its_way(store: Store, looker: Looker) -> None:
    (store.directory.inbox / "soon.jsonl").write_bytes(b"{}\n")
    assert "On its way" in looker.tile("/ui/jobs/soon", "whole")
    assert "soon.jsonl" in looker.tile("/ui/jobs", "arriving")
    (store.directory.inbox / "soon.jsonl").unlink()
    assert "No such job" in looker.tile("/ui/jobs/soon", "whole")


def test_unknown_cost_is_a_dash(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    store.answer_all(store.ended())
    store.run("UPDATE batches SET cost_usd = NULL")
    shown = looker.tile("/ui/jobs/one", "whole")
    assert f"<dt>Cost</dt><dd><b>{UNKNOWN}</b></dd>" in shown
    assert "1 batch without a known price" in shown
    totals = looker.tile("/ui/analytics", "totals")
    assert f'<span class="value">{UNKNOWN}</span>' in totals
    assert "$" not in totals


def test_a_viewer_gets_no_buttons(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    for address, tile in (("/ui/jobs", "rows"), ("/ui/jobs/one", "whole")):
        assert "data-act" in looker.tile(address, tile)
        assert "data-act" not in looker.tile(address, tile, scopes=LOOKING)
    for tile in ("drop", "one", "samples"):
        assert "<input" not in looker.tile("/ui/upload", tile, scopes=LOOKING)


@pytest.mark.parametrize(
    ("query", "hours", "piece"),
    [
        ("preset=24h", 24, 3_600),
        ("preset=7d", 7 * 24, 6 * 3_600),
        ("preset=nonsense", 30 * 24, 86_400),
        ("preset=90d", 90 * 24, 86_400),
    ],
)
def test_a_preset_ends_now_and_begins_with_a_whole_piece(
    query: str, hours: int, piece: int
) -> None:
    span = choice_of(Place.of(f"/ui/analytics?{query}"), NOON).span
    assert span.until == NOON
    assert span.bucket_seconds == piece
    assert span.since.timestamp() % piece == 0
    assert timedelta(0) <= (NOON - timedelta(hours=hours)) - span.since < timedelta(seconds=piece)


def test_days_are_whole_and_the_last_one_counts() -> None:
    address = "/ui/analytics?from=2026-11-01&to=2026-11-03&model=m&job=a%20b"
    choice = choice_of(Place.of(address), NOON)
    assert choice.span.since == datetime(2026, 11, 1, tzinfo=UTC)
    assert choice.span.until == datetime(2026, 11, 4, tzinfo=UTC)
    csv = choice.csv_address("flow", in_pieces=True)
    assert csv == (
        "/api/stats/flow?format=csv&since=2026-11-01T00%3A00%3A00Z&until=2026-11-04T00%3A00%3A00Z"
        "&bucket_seconds=21600&model=m&job=a+b"
    )


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-11-09&to=2026-11-01",
        "from=2027-01-01",
        "from=0001-01-01",
        "from=x&to=y",
        "from=0001-01-01&to=9999-12-31",
        "to=0001-01-02",
    ],
)
def test_impossible_days_never_break_the_page(query: str) -> None:
    choice = choice_of(Place.of(f"/ui/analytics?{query}"), NOON)
    assert choice.span.since < choice.span.until
    assert len(choice.span.numbers) < 2_000


def test_centuries_are_cut_into_few_pieces() -> None:
    choice = choice_of(Place.of("/ui/analytics?from=2000-01-01"), NOON)
    assert len(choice.span.numbers) < 2_000


def test_every_tile_of_analytics_stands_on_an_empty_and_on_a_full_ledger(
    store: Store, looker: Looker
) -> None:
    tiles = ("totals", "cost", "tokens", "parts", "flow", "waits", "turnaround", "fill",
             "deliveries", "endings", "errors", "estimates", "filters")  # fmt: skip
    before = {name: looker.tile("/ui/analytics", name) for name in tiles}
    store.take_in(chat_lines(4), name="one", source_id="s1")
    batch = store.ended()
    first, *others = store.wire_ids(batch)
    store.collect(batch, output=[success_line(one) for one in others], error=[failure_line(first)])
    for name in tiles:
        for query in ("", "?by=job", "?model=gpt-4o-mini&job=one&preset=24h"):
            assert looker.tile(f"/ui/analytics{query}", name) is not None
    assert looker.tile("/ui/analytics", "errors") != before["errors"]
    assert "invalid_value" in looker.tile("/ui/analytics", "errors")
