from typing import Any

import pytest
from factories import MODEL, Store
from report_ledger import AT, HOUR, TARGET, look, terms

from batching.errors import BadInput
from storage.reports.audit import AuditFilter, audit_choices, audit_view
from storage.reports.batch import batch_report, why_it_waits
from storage.reports.batches import BatchFilter, batch_ids_matching, batches_view, gathering
from storage.reports.deliveries import (
    DeliveryFilter,
    attempts_view,
    dead_letters,
    deliveries_view,
    files_report,
    targets_report,
)
from storage.reports.jobs import JobFilter, job_report, jobs_view
from storage.reports.paging import PageChoice
from storage.reports.requests import newer_requests, newest_place, request_choices, requests_view
from storage.request_filter import RequestFilter

FIRST = PageChoice()


def batches(store: Store, choice: PageChoice = FIRST, **wanted: Any) -> dict[str, Any]:
    found: dict[str, Any] = look(store, batches_view, BatchFilter(**wanted), choice, terms=terms())
    return found


def numbers(found: dict[str, Any]) -> list[int]:
    return [row["batch_id"] for row in found["rows"]]


def requests(store: Store, choice: PageChoice = FIRST, **wanted: Any) -> dict[str, Any]:
    found: dict[str, Any] = look(store, requests_view, RequestFilter(**wanted), choice)
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [row["custom_id"] for row in found["rows"]]


def test_lists_of_an_empty_ledger_are_empty(store: Store) -> None:
    nothing = {"rows": [], "count": 0}
    assert batches(store)["tabs"] == {"all": 0, "active": 0, "attention": 0, "finished": 0}
    assert batches(store)["rows"] == []
    assert requests(store)["count"] == 0
    assert requests(store)["newest"] is None
    assert look(store, jobs_view, JobFilter(), FIRST, terms=terms())["rows"] == []
    assert look(store, job_report, "none", terms=terms()) is None
    assert look(store, batch_report, 1, terms=terms()) is None
    assert look(store, gathering, terms=terms()) == []
    assert look(store, targets_report, at=AT) == []
    assert look(store, files_report, at=AT)["delivered"] == 0
    assert look(store, dead_letters) == []
    assert look(store, deliveries_view, DeliveryFilter(), FIRST) == nothing
    assert look(store, attempts_view, DeliveryFilter(), FIRST) == nothing
    assert look(store, audit_view, AuditFilter(), FIRST) == nothing


def test_batches_stand_under_their_tabs_the_newest_first(known: Store) -> None:
    assert batches(known)["tabs"] == {"all": 3, "active": 1, "attention": 1, "finished": 2}
    by_id = PageChoice(sort="id")
    assert numbers(batches(known, by_id)) == [3, 2, 1]
    assert numbers(batches(known, tab="active")) == [3]
    assert numbers(batches(known, tab="attention")) == [2]
    assert numbers(batches(known, PageChoice(sort="id", descending=False), tab="finished")) == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"text": "2"}, [2]),
        ({"text": "BATCH_1"}, [1]),
        ({"text": "loc"}, [2]),
        ({"text": "thre"}, [3]),
        ({"job": "one"}, [1]),
        ({"model": MODEL}, [3, 1]),
        ({"state": "submitted"}, [3]),
        ({"batch_ids": (1, 2)}, [2, 1]),
        ({"text": "no such"}, []),
    ],
)
def test_a_search_finds_batches_by_number_provider_id_model_and_job(
    known: Store, wanted: dict[str, Any], expected: list[int]
) -> None:
    found = batches(known, PageChoice(sort="id"), **wanted)
    assert numbers(found) == expected
    assert found["count"] == len(expected)
    meant = look(known, batch_ids_matching, BatchFilter(**wanted), terms=terms())
    assert sorted(meant) == sorted(expected)


def test_a_page_has_the_count_of_all_pages(known: Store) -> None:
    found = batches(known, PageChoice(sort="id", limit=1, offset=2))
    assert (numbers(found), found["count"]) == ([1], 3)
    assert batches(known, PageChoice(limit=5, offset=50))["count"] == 3


def test_an_order_or_tab_that_does_not_exist_is_refused(known: Store) -> None:
    with pytest.raises(BadInput, match="cannot be sorted by 'colour'"):
        batches(known, PageChoice(sort="colour"))
    with pytest.raises(BadInput, match="cannot be sorted by 'colour'"):
        requests(known, PageChoice(sort="colour"))
    with pytest.raises(BadInput, match="no tab 'lost'"):
        batches(known, tab="lost")


def test_a_batch_is_shown_with_its_jobs_deliveries_and_money(known: Store) -> None:
    first = look(known, batch_report, 1, terms=terms())
    assert first["jobs"] == [{"job": "one", "requests": 5}]
    assert first["request_states"] == {"failed": 1, "succeeded": 4}
    assert first["deliveries"] == {"pending": 0, "delivered": 5, "exhausted": 0, "cancelled": 0}
    assert first["money"]["saved_usd"] == pytest.approx(0.02)
    assert first["money"]["input_usd_per_million"] == 2.0
    assert first["waiting"] is None
    second = look(known, batch_report, 2, terms=terms())
    assert second["deliveries"] == {"pending": 2, "delivered": 1, "exhausted": 1, "cancelled": 0}
    assert second["money"]["synchronous_usd"] is None
    third = look(known, batch_report, 3, terms=terms())
    assert third["waiting"]["reason"] == "provider"
    assert [create["provider_id"] for create in third["creates"]] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE batches SET state = 'uploaded' WHERE batch_id = 3", None),
        ("UPDATE lanes SET paused = true", "provider"),
        ("UPDATE batches SET failures = 1, not_before = now() WHERE batch_id = 3", "retry"),
        ("UPDATE batches SET cancel_requested = true WHERE batch_id = 3", "cancelling"),
    ],
)
def test_a_batch_says_why_it_waits(known: Store, change: str, reason: str | None) -> None:
    known.run(change)
    found = look(known, why_it_waits, 3, terms=terms())
    assert (found and found["reason"]) == reason


def test_what_gathers_says_until_when_and_how_full_it_is(known: Store) -> None:
    (lane,) = look(known, gathering, terms=terms(batch_max_requests=30))
    assert (lane["model"], lane["requests"], lane["oldest_at"]) == (MODEL, 3, AT - HOUR)
    assert lane["sent_at_latest"] == AT
    assert lane["filled_share"] == pytest.approx(0.1)
    known.run("UPDATE jobs SET paused = true")
    (held,) = look(known, gathering, terms=terms())
    assert (held["sent_at_latest"], held["all_jobs_paused"]) == (None, True)


def test_requests_are_counted_by_state_under_the_rest_of_the_filter(known: Store) -> None:
    found = requests(known, state="failed")
    assert (ids(found), found["count"]) == (["one-0"], 1)
    states = {"pending": 3, "batched": 2, "succeeded": 8, "failed": 1, "cancelled": 0}
    assert found["states"] == states
    assert requests(known, job="two")["states"]["succeeded"] == 4


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"custom_id_part": "E-1"}, ["three-1", "one-1"]),
        ({"custom_id_part": "e_1"}, []),
        ({"custom_id_part": "!"}, []),
        ({"delivery_state": "exhausted"}, ["two-1"]),
        ({"delivery_state": "delivered", "job": "two"}, ["two-0"]),
        ({"delivery_state": "delivered", "job": "one", "state": "failed"}, ["one-0"]),
        ({"target": TARGET, "custom_id_prefix": "two-2"}, ["two-2"]),
        ({"places": [(1, 0), (2, 3)]}, ["two-3", "one-0"]),
        ({"places": []}, []),
        ({"error_code": "invalid_value"}, ["one-0"]),
        ({"until": AT - 20 * HOUR, "custom_id_part": "0"}, ["two-0"]),
    ],
)
def test_a_filter_finds_requests(known: Store, wanted: dict[str, Any], expected: list[str]) -> None:
    found = requests(known, **wanted)
    assert (ids(found), found["count"]) == (expected, len(expected))


@pytest.mark.parametrize(
    "sort",
    ["updated", "custom_id", "state", "job", "batch", "endpoint", "model", "tokens", "bytes"],
)
def test_requests_can_be_sorted_by_any_column_both_ways(known: Store, sort: str) -> None:
    down = requests(known, PageChoice(sort=sort, limit=50))
    up = requests(known, PageChoice(sort=sort, limit=50, descending=False))
    assert len(set(ids(down))) == 14
    if sort != "batch":  # requests without a batch stand last both ways
        assert ids(up) == ids(down)[::-1]


def test_a_page_stands_still_and_later_requests_are_counted(known: Store) -> None:
    place = (3, 1)
    assert look(known, newest_place) == (4, 2)
    found = look(known, requests_view, RequestFilter(), FIRST, newest=place)
    assert (found["count"], ids(found)[0]) == (11, "three-1")
    assert look(known, newer_requests, RequestFilter(), place) == 3
    assert look(known, newer_requests, RequestFilter(job="one"), place) == 0
    assert look(known, request_choices)["models"] == [MODEL, "local"]


def test_jobs_are_listed_with_progress_and_their_share_of_the_money(known: Store) -> None:
    found = look(known, jobs_view, JobFilter(), PageChoice(sort="name"), terms=terms())
    jobs = {row["name"]: row for row in found["rows"]}
    assert found["tabs"] == {"all": 4, "running": 3, "paused": 0, "troubled": 3, "complete": 0}
    assert (jobs["one"]["requests"], jobs["one"]["done_share"]) == (5, 1.0)
    assert jobs["one"]["cost_usd"] == pytest.approx(0.02)
    assert jobs["one"]["saved_usd"] == pytest.approx(0.02)
    assert (jobs["two"]["cost_usd"], jobs["two"]["unpriced_batches"]) == (None, 1)
    assert (jobs["two"]["exhausted"], jobs["two"]["undelivered"]) == (1, 2)
    assert (jobs["four"]["received"], jobs["four"]["rejected"]) == (6, 3)
    assert jobs["one"]["kinds"] == ["file"]
    log = "dashboard-20261123T100000000001-0123abcd.obmlog"
    known.run("UPDATE sources SET name = ? WHERE name = 'one'", log)
    found = look(known, jobs_view, JobFilter(), PageChoice(sort="name"), terms=terms())
    assert {row["name"]: row["kinds"] for row in found["rows"]}["one"] == ["rest"]


def test_a_batch_of_two_jobs_is_paid_by_both_by_what_their_tokens_are_worth(known: Store) -> None:
    known.run(
        "UPDATE requests SET job_id = (SELECT job_id FROM jobs WHERE name = 'four') "
        "WHERE custom_id IN ('one-1')"
    )
    found = look(known, jobs_view, JobFilter(), FIRST, terms=terms())
    costs = {row["name"]: row["cost_usd"] for row in found["rows"]}
    assert costs["one"] == pytest.approx(0.015)
    assert costs["four"] == pytest.approx(0.005)


def test_a_job_is_shown_with_its_sources_files_models_and_errors(known: Store) -> None:
    job = look(known, job_report, "one", terms=terms())
    (source,) = job["source_list"]
    assert (source["name"], source["bytes"], source["accepted"]) == ("one", 100, 5)
    assert source["content_hash"] == "hash of s1"
    (file,) = job["files"]
    assert (file["folder"], file["file"], file["results"]) == ("one", "results.jsonl", 5)
    assert [(model["requests"], model["succeeded"]) for model in job["models"]] == [(5, 4)]
    assert job["errors"] == [{"error_code": "invalid_value", "status_code": 400, "requests": 1}]
    (rejected,) = look(known, job_report, "four", terms=terms())["source_list"]
    assert rejected["rejected_file"] == "s4__four.jsonl"


def test_a_target_is_shown_with_its_last_day(known: Store) -> None:
    (target,) = look(known, targets_report, at=AT)
    assert (target["target"], target["attempts_24h"], target["succeeded_24h"]) == (TARGET, 3, 1)
    assert target["success_share"] == pytest.approx(1 / 3)
    assert (target["p50_seconds"], target["breaker"]) == (3.0, "closed")
    assert (target["pending"], target["delivered"], target["exhausted"]) == (2, 1, 1)
    known.run("UPDATE targets SET paused_at = now()")
    assert look(known, targets_report, at=AT)[0]["breaker"] == "paused"


def test_dead_letters_are_grouped_by_target_and_cause(known: Store) -> None:
    known.run("UPDATE deliveries SET state = 'exhausted', outcome = 'gone' WHERE delivery_id = 3")
    found = look(known, dead_letters)
    assert {(row["outcome"], row["problem"], row["deliveries"]) for row in found} == {
        ("timeout", "no answer", 1), ("gone", None, 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "deliveries", "attempts"),
    [
        ({}, 4, 3),
        ({"state": "exhausted"}, 1, 1),
        ({"outcome": "timeout"}, 1, 2),
        ({"failed_only": True}, 1, 2),
        ({"target": TARGET, "custom_id_part": "two-0"}, 1, 1),
        ({"job": "one"}, 0, 0),
        ({"batch_id": 2, "problem": "no answer"}, 1, 1),
        ({"since": AT - 3 * HOUR}, 0, 3),
        ({"until": AT - 3 * HOUR}, 4, 0),
    ],
)
def test_deliveries_and_attempts_are_filtered_alike(
    known: Store, wanted: dict[str, Any], deliveries: int, attempts: int
) -> None:
    chosen = DeliveryFilter(**wanted)
    found = look(known, deliveries_view, chosen, FIRST)
    tried = look(known, attempts_view, chosen, FIRST)
    assert (found["count"], len(found["rows"])) == (deliveries, deliveries)
    assert (tried["count"], len(tried["rows"])) == (attempts, attempts)


def test_the_audit_trail_is_filtered_by_who_what_and_when(known: Store) -> None:
    with known.ledger.transaction() as transaction:
        transaction.record_move("job", "one", "paused", actor="anna", reason="for a while")
    people = look(known, audit_view, AuditFilter(people_only=True), FIRST)
    assert [(row["actor"], row["entity_id"]) for row in people["rows"]] == [("anna", "one")]
    assert people["count"] == 1
    assert look(known, audit_view, AuditFilter(text="a WHILE"), FIRST)["count"] == 1
    batch = look(known, audit_view, AuditFilter(entity="batch", entity_id="1"), FIRST)
    assert {row["target"] for row in batch["rows"]} >= {"planned", "collected"}
    assert look(known, audit_view, AuditFilter(until=AT - 3 * HOUR), FIRST)["count"] == 0
    assert look(known, audit_choices)["actors"] == ["anna", "pipeline"]


@pytest.mark.parametrize("descending", [True, False])
def test_requests_are_sorted_by_how_badly_their_delivery_goes(
    known: Store, *, descending: bool
) -> None:
    choice = PageChoice(sort="delivery", descending=descending, limit=100)
    rows = requests(known, choice)["rows"]
    ranks = {"exhausted": 3, "pending": 2, "cancelled": 1, "delivered": 0, None: None}
    found = [ranks[row["delivery_state"]] for row in rows]
    known_ranks = [rank for rank in found if rank is not None]
    assert {0, 2, 3} <= set(known_ranks)
    assert known_ranks == sorted(known_ranks, reverse=descending)
    assert found[: len(known_ranks)] == known_ranks
    pages = [
        requests(known, PageChoice(sort="delivery", descending=descending, limit=2, offset=offset))
        for offset in range(0, len(rows), 2)
    ]
    assert [name for page in pages for name in ids(page)] == [row["custom_id"] for row in rows]
