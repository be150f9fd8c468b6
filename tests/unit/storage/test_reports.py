from datetime import timedelta
from decimal import Decimal
from typing import Any

from factories import ACCOUNT, Store, chat_lines, failure_line, policy, success_line

from batching.lifecycle import BatchState
from storage.accounts import record_trouble
from storage.claims import claim_next
from storage.jobs import set_job_paused
from storage.ledger import now
from storage.reports.progress import (
    batches_by_state,
    failures_since,
    jobs_report,
    lanes_report,
    money_report,
    open_batches_report,
    requests_by_state,
    sources_report,
)
from storage.reports.standstill import Standstill, standstill


def report(store: Store, query: Any, **arguments: Any) -> Any:
    with store.ledger.transaction() as reader:
        return query(reader, **arguments)


def mixed(store: Store) -> None:
    """One job with a success, a failure and a pending request; another that is pending."""
    store.take_in(chat_lines(3), name="one", source_id="s1")
    batch = store.ended()
    wires = store.wire_ids(batch)
    errors = [failure_line(wires[1]), failure_line(wires[2], status=500, code="server_error")]
    store.collect(
        batch, [success_line(wires[0])], errors, cost_of=lambda _model, _usage: Decimal("0.5")
    )
    store.deliver()
    store.take_in(chat_lines(2, model="other"), name="two", source_id="s2")


def test_an_empty_system_has_empty_reports(store: Store) -> None:
    for query in (
        lanes_report, open_batches_report, jobs_report, sources_report, money_report,
    ):  # fmt: skip
        assert report(store, query) == []
    assert report(store, requests_by_state) == {}
    assert report(store, batches_by_state) == {}
    assert report(store, standstill, account=ACCOUNT) == Standstill(
        under_way=0, waiting_for_time=0, held=None, account_trouble=None
    )
    with store.ledger.transaction() as reader:
        assert failures_since(reader, now() - timedelta(days=1)) == 0


def test_jobs_are_shown_with_their_progress_newest_first(store: Store) -> None:
    mixed(store)
    two, one = report(store, jobs_report)
    assert [one["name"], two["name"]] == ["one", "two"]
    counted = ("requests", "pending", "batched", "succeeded", "failed", "cancelled", "delivered")
    assert [one[name] for name in counted] == [3, 1, 0, 1, 1, 0, 2]
    assert [two[name] for name in counted] == [2, 2, 0, 0, 0, 0, 0]
    assert [job["name"] for job in report(store, jobs_report, name="one")] == ["one"]
    assert report(store, jobs_report, name="none") == []


def test_lanes_batches_requests_and_sources_are_counted(store: Store) -> None:
    mixed(store)
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    lanes = {lane["model"]: lane for lane in report(store, lanes_report)}
    assert lanes["gpt-4o-mini"]["pending"] == 0
    assert lanes["gpt-4o-mini"]["enqueued_tokens"] == batch.tokens
    assert lanes["other"]["pending"] == 2
    (shown,) = report(store, open_batches_report)
    assert (shown["batch_id"], shown["state"], shown["requests"]) == (2, "submitted", 1)
    assert report(store, batches_by_state) == {"collected": 1, "submitted": 1}
    states = {"succeeded": 1, "failed": 1, "pending": 2, "batched": 1}
    assert report(store, requests_by_state) == states
    assert [source["job"] for source in report(store, sources_report)] == ["two", "one"]


def test_money_is_unknown_as_soon_as_one_collected_batch_has_no_price(store: Store) -> None:
    mixed(store)
    (row,) = report(store, money_report)
    assert (row["batches"], row["requests"], row["cost_usd"]) == (1, 3, Decimal("0.5"))
    store.answer_all(store.ended())
    (row,) = report(store, money_report)
    assert (row["batches"], row["cost_usd"]) == (2, None)


def test_a_standstill_tells_who_waits_for_what(store: Store) -> None:
    mixed(store)
    set_job_paused(store.ledger, "two", paused=True, actor="ann")
    claim_next(store.ledger, policy())
    found = report(store, standstill, account=ACCOUNT)
    assert (found.under_way, found.waiting_for_time) == (1, 0)
    assert found.held == "2 requests: paused"
    record_trouble(store.ledger, ACCOUNT, "invalid key")
    assert report(store, standstill, account=ACCOUNT).account_trouble == "invalid key"


def test_failures_count_from_a_moment_on(store: Store) -> None:
    mixed(store)
    with store.ledger.transaction() as reader:
        assert failures_since(reader, now() - timedelta(minutes=5)) == 1
        assert failures_since(reader, now()) == 0
