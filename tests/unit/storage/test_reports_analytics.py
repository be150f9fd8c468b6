from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import MODEL, Store
from report_ledger import AT, HOUR, TARGET, look, terms

from batching.errors import BadInput
from storage.reports import timing, usage
from storage.reports.analytics_filter import AnalyticsFilter
from storage.reports.buckets import Span
from storage.reports.catalogue import REPORTS, ReportQuery, run_report

SPAN = Span.ending(AT, lasting=timedelta(hours=48), bucket_seconds=86_400)


def chosen(**wanted: Any) -> AnalyticsFilter:
    return AnalyticsFilter(span=SPAN, **wanted)


def test_usage_adds_up_what_is_known_and_counts_what_has_no_price(known: Store) -> None:
    found = look(known, usage.usage_totals, chosen(), terms=terms())
    assert (found["batches"], found["requests"], found["unpriced_batches"]) == (2, 9, 1)
    assert (found["input_tokens"], found["output_tokens"]) == (80, 40)
    assert found["cost_usd"] == pytest.approx(0.02)
    assert found["saved_usd"] == pytest.approx(0.02)


def test_usage_of_a_model_without_a_price_costs_an_unknown_amount(known: Store) -> None:
    rows = look(known, usage.usage_by, chosen(), "model", terms=terms())
    assert [(row["name"], row["cost_usd"]) for row in rows] == [(MODEL, 0.02), ("local", None)]
    (job,) = look(known, usage.usage_by, chosen(model="local"), "job", terms=terms())
    assert (job["name"], job["requests"], job["input_tokens"]) == ("two", 4, 40)
    found = look(known, usage.usage_totals, chosen(job="one"), terms=terms())
    assert (found["requests"], found["cost_usd"]) == (5, 0.02)


def test_usage_over_time_has_every_piece(known: Store) -> None:
    rows = look(known, usage.usage_over_time, chosen(), terms=terms())
    assert [row["input_tokens"] for row in rows] == [0, 40, 40]
    assert [row["cost_usd"] for row in rows] == [None, None, 0.02]
    assert [row["partial"] for row in rows] == [True, False, True]


def test_estimated_tokens_are_compared_with_the_actual_ones(known: Store) -> None:
    known.run("UPDATE requests SET tokens = 5, expected_output_tokens = 10")
    rows = look(known, usage.estimates_by_model, chosen(model="local"))
    assert [(row["requests"], row["input_share"], row["output_share"]) for row in rows] == [
        (4, 2.0, 0.5)
    ]


def test_the_flow_counts_requests_at_each_step(known: Store) -> None:
    steps = ("received", "sent", "finished", "delivered")
    rows = look(known, timing.flow_over_time, chosen())
    assert [[row[step] for step in steps] for row in rows] == [
        [0, 0, 0, 0], [4, 4, 4, 0], [10, 7, 5, 6],
    ]  # fmt: skip
    (_, _, today) = look(known, timing.flow_over_time, chosen(job="one"))
    assert [today[step] for step in steps] == [5, 5, 5, 5]
    (_, yesterday, today) = look(known, timing.flow_over_time, chosen(model="local"))
    assert [yesterday[step] + today[step] for step in steps] == [4, 4, 4, 1]


def test_turnaround_is_the_time_at_the_provider(known: Store) -> None:
    found = look(known, timing.batch_turnaround, chosen())
    assert (found["count"], found["p50_seconds"], found["p99_seconds"]) == (2, 7_200, 7_200)
    rows = look(known, timing.turnaround_by_model, chosen(model="local"))
    assert [(row["model"], row["p90_seconds"]) for row in rows] == [("local", 7_200)]
    assert look(known, timing.request_durations, chosen(job="two"))["count"] == 4


def test_fill_is_the_share_of_what_is_nearest_to_its_limit(known: Store) -> None:
    rows = look(known, timing.batch_fill, chosen(model="local"), terms=terms(batch_max_requests=8))
    assert [(row["requests_share"], row["filled_share"]) for row in rows] == [(0.5, 0.5)]


def test_endings_say_what_expired_and_came_back(known: Store) -> None:
    known.run("UPDATE batches SET provider_status = 'expired', returned = 3 WHERE batch_id = 1")
    found = look(known, timing.batch_endings, chosen())
    assert (found["batches"], found["expired"], found["expired_share"]) == (2, 1, 0.5)
    assert (found["returned_requests"], found["returned_share"]) == (3, pytest.approx(1 / 3))


def test_errors_and_deliveries_are_those_of_the_span(known: Store) -> None:
    assert look(known, timing.errors_by_model, chosen()) == [
        {"error_code": "invalid_value", "status_code": 400, "model": MODEL, "requests": 1}
    ]
    (target,) = look(known, timing.delivery_success, chosen())
    assert (target["target"], target["attempts"], target["succeeded"]) == (TARGET, 3, 1)
    assert look(known, timing.delivery_success, chosen(model=MODEL)) == []
    earlier = Span.ending(AT - 3 * HOUR, lasting=HOUR, bucket_seconds=60)
    assert look(known, timing.delivery_success, AnalyticsFilter(span=earlier)) == []


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_of_the_catalogue_answers_full_and_empty(
    known: Store, store: Store, name: str
) -> None:
    report = REPORTS[name]
    for one in (known, store):
        with one.ledger.transaction() as reader:
            found = run_report(
                reader,
                report,
                ReportQuery(until=AT) if "until" in report.parameters else ReportQuery(),
                terms(),
            )
        assert found is not None
    assert report.description.endswith(".")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (ReportQuery(job="one"), "no parameter 'job'; it has: since, until, bucket_seconds"),
        (ReportQuery(since=AT, until=AT), "must be before"),
        (ReportQuery(since=AT - 48 * HOUR, until=AT, bucket_seconds=60), "more than 2,000 pieces"),
        (ReportQuery(until=datetime(1, 1, 1, tzinfo=UTC)), "must lie between 1990 and 2500"),
    ],
)
def test_a_report_refuses_what_it_does_not_know(
    store: Store, query: ReportQuery, reason: str
) -> None:
    with store.ledger.transaction() as reader, pytest.raises(BadInput, match=reason):
        run_report(reader, REPORTS["outcomes"], query, terms())
