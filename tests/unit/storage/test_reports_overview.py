from datetime import timedelta
from decimal import Decimal

import pytest
from factories import Store
from report_ledger import AT, HOUR, PRICES, TARGET, look, terms

from batching.estimates import synchronous_usd
from batching.lifecycle import BatchState
from batching.provider import TokenUsage
from storage.reports.attention import attention_list
from storage.reports.buckets import Span
from storage.reports.outcomes import failures_by_code, outcomes_over_time, time_to_result
from storage.reports.overview import (
    dead_letters_tile,
    delivered_tile,
    enqueued_by_lane,
    overview_report,
    pipeline_strip,
    received_tile,
    savings_tile,
)


def test_an_empty_ledger_has_zeros_and_unknown_shares(store: Store) -> None:
    found = look(store, overview_report, at=AT, terms=terms())
    assert found["received"]["received"] == 0
    assert found["received"]["change_share"] is None
    assert len(found["received"]["series"]) == 24
    assert found["delivered"]["delivered_share"] is None
    assert found["savings"]["saved_usd"] is None
    assert found["savings"]["batches"] == 0
    assert found["dead_letters"]["dead_letters"] == 0
    assert found["pipeline"]["pending"] == 0
    assert found["pipeline"]["delivering"] == 0
    assert found["enqueued"] == []
    assert found["attention"] == []
    span = Span.ending(AT, lasting=timedelta(days=1), bucket_seconds=21_600)
    assert [row["delivered"] for row in look(store, outcomes_over_time, span=span)] == [0] * 4
    empty = look(store, time_to_result, since=AT - HOUR, until=AT)
    assert (empty["count"], empty["p50_seconds"]) == (0, None)
    assert look(store, failures_by_code, since=AT - HOUR, until=AT) == []


def test_received_requests_are_counted_for_the_last_day_the_one_before_and_by_hour(
    known: Store,
) -> None:
    tile = look(known, received_tile, at=AT)
    assert (tile["received"], tile["received_the_day_before"]) == (10, 4)
    assert tile["change_share"] == pytest.approx(1.5)
    by_hour = {row["starts_at"]: row["value"] for row in tile["series"] if row["value"]}
    assert by_hour == {AT - 10 * HOUR: 5, AT - 2 * HOUR: 5}


def test_delivered_results_count_with_those_in_files(known: Store) -> None:
    tile = look(known, delivered_tile, at=AT)
    counts = {name: tile[name] for name in ("delivered", "waiting", "exhausted", "cancelled")}
    assert counts == {"delivered": 6, "waiting": 2, "exhausted": 1, "cancelled": 0}
    assert tile["delivered_share"] == pytest.approx(6 / 9)
    assert sum(row["value"] for row in tile["series"]) == 6


def test_savings_are_the_synchronous_price_less_what_was_paid_and_unknown_is_apart(
    known: Store,
) -> None:
    tile = look(known, savings_tile, at=AT, terms=terms())
    usage = TokenUsage(input_tokens=40, output_tokens=20)
    expected = synchronous_usd(PRICES.price_of("gpt-4o-mini"), usage, Decimal("0.02"))
    assert expected == Decimal("0.04")
    assert tile["cost_usd"] == pytest.approx(0.02)
    assert tile["synchronous_usd"] == pytest.approx(0.04)
    assert tile["saved_usd"] == pytest.approx(0.02)
    assert tile["unpriced_batches"] == 1
    assert sum(row["value"] or 0 for row in tile["series"]) == pytest.approx(0.02)


def test_cached_tokens_are_worth_less_synchronously_as_for_a_single_batch(known: Store) -> None:
    known.run("UPDATE batches SET cached_tokens = 30 WHERE batch_id = 1")
    usage = TokenUsage(input_tokens=40, cached_tokens=30, output_tokens=20)
    expected = synchronous_usd(PRICES.price_of("gpt-4o-mini"), usage, Decimal("0.02"))
    tile = look(known, savings_tile, at=AT, terms=terms())
    assert expected is not None
    assert tile["synchronous_usd"] == pytest.approx(float(expected))
    assert tile["synchronous_usd"] < 0.04


def test_dead_letters_and_failing_targets_are_counted(known: Store) -> None:
    tile = look(known, dead_letters_tile, at=AT)
    assert (tile["dead_letters"], tile["failing_targets"]) == (1, 1)
    assert tile["series"][-3]["value"] == 1


def test_the_pipeline_strip_has_every_request_that_is_on_its_way(known: Store) -> None:
    known.run("UPDATE lanes SET wait_reason = 'capacity' WHERE model = 'gpt-4o-mini'")
    strip = look(known, pipeline_strip, at=AT)
    assert strip["pending"] == strip["waiting_for_capacity"] == 3
    assert strip["waiting_by_reason"] == {"capacity": 3}
    assert (strip["at_provider"], strip["being_sent"], strip["open_batches"]) == (2, 0, 1)
    assert (strip["delivering"], strip["delivered_today"]) == (2, 6)


def test_a_batch_that_may_not_be_sent_yet_waits_for_capacity_and_is_not_at_the_provider(
    known: Store,
) -> None:
    batch = known.bring_to(known.claim(), BatchState.UPLOADED)
    strip = look(known, pipeline_strip, at=AT)
    assert (strip["being_sent"], strip["at_provider"]) == (3, 2)
    assert (strip["open_batches"], strip["batches_at_provider"]) == (2, 1)
    for change, undo in (
        ("UPDATE batches SET token_refusals = 1", "UPDATE batches SET token_refusals = 0"),
        ("UPDATE lanes SET wait_reason = 'capacity'", "UPDATE lanes SET wait_reason = NULL"),
        ("UPDATE batches SET not_before = '2026-03-11'", "UPDATE batches SET not_before = NULL"),
    ):
        known.run(change)
        strip = look(known, pipeline_strip, at=AT)
        assert (strip["waiting_for_capacity"], strip["held_back"]) == (3, 3), change
        assert (strip["being_sent"], strip["at_provider"]) == (0, 2), change
        known.run(undo)
    known.bring_to(batch, BatchState.SUBMITTING)
    strip = look(known, pipeline_strip, at=AT)
    assert (strip["being_sent"], strip["at_provider"]) == (3, 2)


def test_enqueued_tokens_stand_beside_the_limit_in_force(known: Store) -> None:
    tokens = known.value("SELECT tokens FROM batches WHERE batch_id = 3")
    lanes = look(known, enqueued_by_lane, terms=terms(token_limits={"gpt-4o-mini": tokens * 4}))
    assert [(lane["model"], lane["used_share"]) for lane in lanes] == [
        ("gpt-4o-mini", 0.25), ("local", None),
    ]  # fmt: skip
    assert lanes[0]["limit_source"] == "override"


def test_the_attention_list_names_what_to_look_at_the_gravest_first(known: Store) -> None:
    known.run("UPDATE jobs SET paused = true WHERE name = 'four'")
    found = look(known, attention_list, at=AT)
    assert [(item["kind"], item["entity_id"]) for item in found] == [
        ("dead_letters", TARGET),
        ("destination_failing", TARGET),
        ("source_rejected", "s4"),
        ("job_paused", "four"),
    ]
    assert found[2]["count"] == 3


def test_outcomes_put_each_request_into_one_kind_and_mark_partial_pieces(known: Store) -> None:
    span = Span.ending(AT, lasting=timedelta(hours=35), bucket_seconds=86_400)
    rows = look(known, outcomes_over_time, span=span)
    assert [row["partial"] for row in rows] == [True, True]
    names = ("delivered", "delivering", "processing", "pending", "delivery_failed", "failed")
    assert [[row[name] for name in names] for row in rows] == [
        [1, 2, 0, 0, 1, 0],
        [4, 0, 2, 3, 0, 1],
    ]


def test_time_to_result_and_failures_are_those_of_the_time_asked_for(known: Store) -> None:
    found = look(known, time_to_result, since=AT - 24 * HOUR, until=AT)
    assert (found["count"], found["p50_seconds"], found["p99_seconds"]) == (5, 14_400, 14_400)
    assert [b["from_seconds"] for b in found["buckets"] if b["count"]] == [14_400]
    assert look(known, failures_by_code, since=AT - 24 * HOUR, until=AT) == [
        {"error_code": "invalid_value", "requests": 1}
    ]
