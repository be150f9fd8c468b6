from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import Store, chat_lines, failure_line, success_line
from looks import Looker

from batching.access import Scope
from batching.lifecycle import BatchState
from batching.settings import Settings
from dashboards.components.timeline import Step
from dashboards.pages.batch_story import past_and_expected, transitions_told, why_waiting
from tasks.assembly import assemble_batch
from tasks.collection import collect
from tasks.creation import create_batch
from tasks.upload import upload_batch

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def looker(store: Store) -> Looker:
    return Looker(store.directory)


def a_batch(**known: Any) -> dict[str, Any]:
    times = dict.fromkeys(
        ("planned_at", "uploaded_at", "submitted_at", "in_progress_at", "ended_at", "finished_at")
    )
    return {"state": "planned", **times} | known


def waiting(reason: str, **facts: Any) -> dict[str, Any]:
    names = (
        "not_before", "backoff_until", "trouble", "failures", "fault_message", "tokens",
        "enqueued_by_others", "token_limit", "limit_source", "provider_status", "model",
        "next_poll_at",
    )  # fmt: skip
    return {"reason": reason, **dict.fromkeys(names)} | facts


def titles(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.title, step.tone) for step in steps]


def test_a_batch_at_the_provider_shows_what_is_past_what_is_next_and_what_is_expected() -> None:
    steps = past_and_expected(
        a_batch(
            state="submitted", planned_at=NOON, uploaded_at=NOON + timedelta(seconds=90),
            submitted_at=NOON + timedelta(seconds=90),
        )
    )  # fmt: skip
    assert titles(steps) == [
        ("Planned", "success"), ("Uploaded", "success"), ("Created", "success"),
        ("Running", "info"), ("Ended", "expected"), ("Collected", "expected"),
    ]  # fmt: skip
    assert [step.note for step in steps] == ["", "after 1 min 30 s", "", "next", "", ""]


@pytest.mark.parametrize(("state", "tone"), [("failed", "error"), ("cancelled", "warning")])
def test_a_batch_that_came_to_nothing_expects_nothing(state: str, tone: str) -> None:
    steps = past_and_expected(a_batch(state=state, planned_at=NOON, finished_at=NOON))
    assert titles(steps) == [("Planned", "success"), (state.capitalize(), tone)]


def test_a_collected_batch_has_no_step_left() -> None:
    steps = past_and_expected(
        a_batch(state="collected", planned_at=NOON, submitted_at=NOON, finished_at=NOON)
    )
    assert titles(steps) == [
        ("Planned", "success"), ("Created", "success"), ("Collected", "success"),
    ]  # fmt: skip


def test_the_history_names_who_did_it_unless_it_was_the_pipeline() -> None:
    rows = [
        {"happened_at": NOON, "source": "uploaded", "target": "submitting", "reason": None,
         "actor": "pipeline"},
        {"happened_at": NOON, "source": "submitted", "target": "uploaded", "reason": "no room",
         "actor": "pipeline"},
        {"happened_at": NOON, "source": None, "target": "cancel_requested", "reason": None,
         "actor": "api:mia"},
    ]  # fmt: skip
    told = [(step.title, step.note) for step in transitions_told(rows)]
    assert told == [
        ("Create intended", ""),
        ("Refused for its tokens, waits for room", "no room"),
        ("Cancel requested", "by api:mia"),
    ]


@pytest.mark.parametrize(
    ("facts", "said", "tone"),
    [
        (waiting("account", trouble="no credit"), "no credit", "error"),
        (waiting("paused", model="m"), "Sending for m is paused", "warning"),
        (waiting("retry", failures=2, fault_message="busy"), "failed 2 times (busy)", "warning"),
        (waiting("backoff"), "tried again at the next look", "warning"),
        (waiting("cancelling"), "being cancelled", "warning"),
        (waiting("provider", provider_status="finalizing"), "(finalizing)", "info"),
        (
            waiting("capacity", tokens=900_000, enqueued_by_others=1_500_000, model="m",
                    token_limit=2_000_000, limit_source="override"),
            "needs 900k tokens; other batches of m hold 1.5M of the 2M",
            "warning",
        ),
    ],
)  # fmt: skip
def test_each_reason_to_wait_is_told_with_its_facts(
    facts: dict[str, Any], said: str, tone: str
) -> None:
    text, found, _ = why_waiting(facts)
    assert (said in text, found) == (True, tone)


def test_a_fault_that_looks_like_html_is_shown_as_text() -> None:
    text, _, _ = why_waiting(waiting("account", trouble="<script>alert(1)</script>"))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_page_tells_the_whole_batch(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(3, model="homemade"), name="tickets")
    batch = store.ended()
    first, second, third = store.wire_ids(batch)
    store.collect(batch, [success_line(first), success_line(second)], [failure_line(third)])
    page = looker.tile("/ui/batches/1", "whole")
    assert "<h1>Batch 1</h1>" in page
    assert "Collected, some failed" in page
    assert 'href="/ui/jobs/tickets"' in page
    assert 'href="/ui/requests?batch=1&amp;state=failed">1</a>' in page
    assert 'href="/ui/requests?batch=1&amp;state=succeeded">2</a>' in page
    assert "no price is known for this model" in page
    assert "Its results are delivered" not in page


def test_the_first_requests_are_listed_in_input_order_with_a_link_to_all(
    store: Store, looker: Looker
) -> None:
    store.take_in(chat_lines(30, prefix="a"), name="tickets")
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wire) for wire in wires[1:]], [failure_line(wires[0])])
    page = looker.tile("/ui/batches/1", "whole")
    table = page[page.index("First requests") :]
    assert table.count("<tr data-id=") == 25
    assert table.index('title="a-0"') < table.index('title="a-24"')
    assert f'href="/ui/requests/{store.ledger.installation()}-1-0"' in table
    assert "To deliver" in table
    assert ">Failed<" in table
    assert 'href="/ui/requests?batch=1">All 30<' in table
    assert 'href="/ui/requests?batch=1&amp;state=failed">1 failed<' in table


def test_prefect_is_asked_for_the_runs_of_this_batch_and_of_no_other(store: Store) -> None:
    store.take_in(chat_lines(1))
    store.claim()
    looker = Looker(store.directory, Settings(_env_file=None, OBM_PREFECT_PORT=4200))
    page = looker.tile("/ui/batches/1", "whole")
    assert "4200/runs?tab=task-runs&amp;task-run-search=batch+1%3A" in page
    for step in (assemble_batch, upload_batch, create_batch, collect):
        assert str(step.task_run_name).startswith("batch {batch_id}: ")


def test_files_that_are_here_can_be_downloaded(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(1))
    store.write_input(store.claim())
    page = looker.tile("/ui/batches/1", "whole")
    assert 'href="/api/batches/1/files/input" download' in page
    assert "/files/output" not in page


def test_what_may_be_done_depends_on_state_and_scope(store: Store, looker: Looker) -> None:
    store.take_in(chat_lines(1))
    batch = store.claim()
    page = looker.tile("/ui/batches/1", "whole")
    assert 'data-act="send"' in page
    assert 'data-act="cancel"' in page
    assert "data-act" not in looker.tile("/ui/batches/1", "whole", scopes={Scope.READ})
    store.bring_to(batch, BatchState.SUBMITTED)
    assert 'data-act="send"' not in looker.tile("/ui/batches/1", "whole")


@pytest.mark.parametrize("number", ["7", "x", "0", "99999999999999", "-1", "%3Cb%3E"])
def test_a_number_that_no_batch_has_is_told(looker: Looker, number: str) -> None:
    page = looker.tile(f"/ui/batches/{number}", "whole")
    assert "No such batch" in page
    assert "<b>" not in page
