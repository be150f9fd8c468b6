"""One planted fault per invariant: the doctor names it with its id."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from ailing import codes, diagnosed, finding, results_of
from factories import Store, chat_lines

from batching.jobs import JobSettings
from storage.doctor.findings import Check
from storage.ledger import now
from storage.results import write_own_results_of_requests
from storage.segments import segment_path


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is done to the ledger, and what must be said about it."""

    check: Check
    code: str
    sql: str
    named: str
    """Part of an id that must be named."""


DAMAGES = [
    Damage(
        check=Check.ACCEPTED_LINES, code="request_without_line",
        sql="UPDATE requests SET row_index = 77 WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-77",
    ),
    Damage(
        check=Check.ACCEPTED_LINES, code="line_with_two_requests",
        sql="INSERT INTO requests SELECT * FROM requests WHERE segment = 4 AND row_index = 1",
        named="cafe0123-4-1 id-1",
    ),
    Damage(
        check=Check.ACCEPTED_LINES, code="line_without_request",
        sql="DELETE FROM requests WHERE segment = 4 AND row_index = 1",
        named="cafe0123-4-1 id-1",
    ),
    Damage(
        check=Check.ACCEPTED_LINES, code="more_requests_than_lines",
        sql="UPDATE sources SET accepted = 2 WHERE source_id = 's3'", named="s3",
    ),
    Damage(
        check=Check.ACCEPTED_LINES, code="other_line",
        sql="UPDATE requests SET payload_hash = payload_hash + 1 "
        "WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="unknown_state",
        sql="UPDATE requests SET state = 'lost' WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="pending_with_traces",
        sql="UPDATE requests SET batch_id = 3 WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="batched_with_traces",
        sql="UPDATE requests SET finished_at = now()::TIMESTAMP "
        "WHERE segment = 3 AND row_index = 2",
        named="cafe0123-3-2 id-2",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="batched_without_batch",
        sql="UPDATE requests SET state = 'batched', batch_id = 99 "
        "WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="stuck_in_closed_batch",
        sql="UPDATE requests SET state = 'batched', batch_id = 1 "
        "WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="final_without_end",
        sql="UPDATE requests SET finished_at = NULL WHERE segment = 1 AND row_index = 0",
        named="cafe0123-1-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="final_in_open_batch",
        sql="UPDATE batches SET state = 'ended' WHERE batch_id = 2", named="cafe0123-2-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="success_without_result",
        sql="UPDATE requests SET result_id = NULL WHERE segment = 1 AND row_index = 0",
        named="cafe0123-1-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="no_result_and_no_code",
        sql="UPDATE requests SET state = 'failed', finished_at = now()::TIMESTAMP "
        "WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="result_of_another_batch",
        sql="UPDATE requests SET result_id = 2 WHERE segment = 1 AND row_index = 0",
        named="cafe0123-1-0 id-0",
    ),
    Damage(
        check=Check.REQUEST_STATES, code="own_result_without_code",
        sql="UPDATE requests SET error_code = NULL WHERE result_id < 0", named="cafe0123-1-9 id-9",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="open_batch_members",
        sql="UPDATE batches SET requests = 4 WHERE batch_id = 3", named="3 (4 sent, 3 in",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="closed_batch_sum",
        sql="UPDATE batches SET returned = 0 WHERE batch_id = 1",
        named="1 (10 sent, 9 accounted for)",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="closed_batch_sum",
        sql="UPDATE batches SET returned = NULL WHERE batch_id = 1",
        named="1 (10 sent, not counted",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="more_ends_than_counted",
        sql="UPDATE requests SET state = 'succeeded' WHERE segment = 1 AND row_index = 8",
        named="1",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="fewer_successes_than_counted",
        sql="UPDATE requests SET state = 'failed' WHERE segment = 2 AND row_index = 1", named="2",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="collected_without_results",
        sql="DELETE FROM results WHERE result_id = 2", named="2",
    ),
    Damage(
        check=Check.BATCH_COUNTS, code="more_results_than_answers",
        sql="UPDATE results SET rows = 11 WHERE result_id = 1", named="1",
    ),
    Damage(
        check=Check.RESULT_LINES, code="result_without_line",
        sql="UPDATE requests SET state = 'failed', batch_id = 2, result_id = 2, "
        "finished_at = now()::TIMESTAMP WHERE segment = 4 AND row_index = 0",
        named="cafe0123-4-0 id-0",
    ),
    Damage(
        check=Check.RESULT_LINES, code="result_of_another_request",
        sql="UPDATE requests SET custom_id = 'somebody' WHERE segment = 1 AND row_index = 0",
        named="cafe0123-1-0 somebody",
    ),
    Damage(
        check=Check.RESULT_LINES, code="result_of_another_request",
        sql="UPDATE requests SET result_bytes = result_bytes - 1 "
        "WHERE segment = 1 AND row_index = 8",
        named="cafe0123-1-8 id-8",
    ),
    Damage(
        check=Check.DELIVERIES, code="lost_part",
        sql="DELETE FROM parts WHERE result_id = 1", named="job job, result 1: 9 results",
    ),
    Damage(
        check=Check.DELIVERIES, code="lost_delivery",
        sql="DELETE FROM deliveries WHERE row_index = 2", named="cafe0123-2-2 id-2",
    ),
    Damage(
        check=Check.DELIVERIES, code="small_part",
        sql="UPDATE parts SET rows = 8 WHERE result_id = 1", named="part 1 (8 lines, 9 results)",
    ),
    Damage(
        check=Check.DELIVERIES, code="part_rows",
        sql="UPDATE parts SET rows = 10 WHERE result_id = 1", named="part 1",
    ),
    Damage(
        check=Check.DELIVERIES, code="part_twice",
        sql="INSERT INTO parts BY NAME SELECT 9 AS part_id, job_id, result_id, 'pending' AS state, "
        "rows, created_at, 0 AS attempts FROM parts WHERE result_id = 1",
        named="job job, result 1",
    ),
    Damage(
        check=Check.DELIVERIES, code="delivery_twice",
        sql="INSERT INTO deliveries SELECT * REPLACE (9 AS delivery_id) FROM deliveries "
        "WHERE row_index = 2",
        named="delivery 9",
    ),
    Damage(
        check=Check.DELIVERIES, code="delivery_state",
        sql="UPDATE deliveries SET state = 'delivered' WHERE row_index = 2", named="delivery 3",
    ),
    Damage(
        check=Check.DELIVERIES, code="part_state",
        sql="UPDATE parts SET delivered_at = NULL WHERE result_id = 1", named="part 1",
    ),
    Damage(
        check=Check.OUTBOX, code="outbox_chain",
        sql="UPDATE parts SET start_offset = start_offset + 1 WHERE result_id < 0",
        named="job/results.jsonl part 2",
    ),
    Damage(
        check=Check.OUTBOX, code="outbox_lines",
        sql="UPDATE parts SET end_offset = end_offset - 1 WHERE result_id < 0",
        named="job/results.jsonl part 2",
    ),
    Damage(
        check=Check.BATCHES, code="unknown_batch_state",
        sql="UPDATE batches SET state = 'lost' WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="submitted_without_needs",
        sql="UPDATE batches SET provider_id = NULL WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="submitting_without_needs",
        sql="UPDATE batches SET state = 'submitting', intent_at = NULL, provider_id = NULL "
        "WHERE batch_id = 3",
        named="3",
    ),
    Damage(
        check=Check.BATCHES, code="uploaded_without_needs",
        sql="UPDATE batches SET state = 'uploaded' WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="planned_without_needs",
        sql="UPDATE batches SET state = 'planned' WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="ended_without_needs",
        sql="UPDATE batches SET state = 'ended' WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="closed_without_end",
        sql="UPDATE batches SET finished_at = NULL WHERE batch_id = 2", named="2",
    ),
    Damage(
        check=Check.BATCHES, code="live_without_create",
        sql="DELETE FROM creates WHERE batch_id = 3", named="3",
    ),
    Damage(
        check=Check.BATCHES, code="provider_id_twice",
        sql="UPDATE batches SET provider_id = 'batch_2' WHERE batch_id = 3", named="batch_2",
    ),
    Damage(
        check=Check.BATCHES, code="created_twice",
        sql="INSERT INTO creates SELECT batch_id, attempt, 'batch_x', recorded_at FROM creates "
        "WHERE batch_id = 2",
        named="2 attempt 1",
    ),
    Damage(
        check=Check.BATCHES, code="input_file_twice",
        sql="UPDATE batches SET input_file_id = 'file-in-2' WHERE batch_id = 3", named="file-in-2",
    ),
    Damage(
        check=Check.BATCHES, code="reservation",
        sql="UPDATE batches SET tokens = tokens + 1000 WHERE batch_id = 3", named="3 (10",
    ),
    Damage(
        check=Check.BATCHES, code="wait_without_since",
        sql="UPDATE lanes SET wait_reason = 'capacity', waiting_since = NULL",
        named="lane 1 gpt-4o",
    ),
    Damage(
        check=Check.BATCHES, code="pause_without_refusal",
        sql="UPDATE lanes SET backoff_until = now()::TIMESTAMP", named="lane 1 gpt-4o-mini",
    ),
    Damage(
        check=Check.CUSTOM_IDS, code="custom_id_twice",
        sql="UPDATE requests SET custom_id = 'id-0', id_hash = (SELECT any_value(id_hash) "
        "FROM requests WHERE custom_id = 'id-0') WHERE segment = 4 AND row_index = 1",
        named="cafe0123-4-1 id-0",
    ),
    Damage(
        check=Check.REFERENCES, code="requests_lane_id",
        sql="UPDATE requests SET lane_id = 99 WHERE segment = 4", named="lane_id 99",
    ),
    Damage(
        check=Check.REFERENCES, code="requests_job_id",
        sql="UPDATE requests SET job_id = 99 WHERE segment = 4", named="job_id 99",
    ),
    Damage(
        check=Check.REFERENCES, code="requests_destination_id",
        sql="UPDATE requests SET destination_id = 99 WHERE segment = 4",
        named="destination_id 99",
    ),
    Damage(
        check=Check.REFERENCES, code="requests_result_id",
        sql="DELETE FROM results WHERE result_id = 1", named="result_id 1",
    ),
    Damage(
        check=Check.REFERENCES, code="deliveries_destination_id",
        sql="UPDATE deliveries SET destination_id = 99", named="destination_id 99",
    ),
    Damage(
        check=Check.REFERENCES, code="deliveries_request",
        sql="UPDATE deliveries SET segment = 99 WHERE row_index = 2", named="delivery 3",
    ),
    Damage(
        check=Check.REFERENCES, code="destinations_target",
        sql="DELETE FROM targets", named="webhook:https://example.com:443",
    ),
    Damage(
        check=Check.REFERENCES, code="attempts_delivery",
        sql="INSERT INTO attempts VALUES (99, 1, now()::TIMESTAMP, 'success', 200, 1, NULL)",
        named="delivery 99",
    ),
    Damage(
        check=Check.REFERENCES, code="batches_batch_id_twice",
        sql="INSERT INTO batches SELECT * FROM batches WHERE batch_id = 2", named="batch_id 2",
    ),
]  # fmt: skip


def test_a_system_in_every_stage_of_its_work_is_healthy(system: Store) -> None:
    report = diagnosed(system)

    assert report.findings == ()
    assert report.notes == ()
    assert report.is_healthy
    assert report.counted == {
        "segments": 4, "requests": 19, "batches": 3, "results": 3, "parts": 2, "deliveries": 4,
    }  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.code)
def test_a_planted_fault_of_the_ledger_is_named_with_its_id(system: Store, damage: Damage) -> None:
    assert system.run(damage.sql) > 0

    found = finding(system, damage.code)

    assert found.check is damage.check
    assert any(name.startswith(damage.named) for name in found.ids), found.ids
    assert found.explanation
    assert found.remedy


def test_a_batch_that_is_to_be_cancelled_and_waits_to_be_sent_is_named(system: Store) -> None:
    batch = system.claim()
    assert codes(system) == []
    system.run("UPDATE batches SET cancel_requested = true WHERE batch_id = ?", batch.batch_id)

    assert finding(system, "cancel_not_carried_out").ids == (str(batch.batch_id),)


def test_a_lost_request_is_told_apart_from_what_retention_forgot(system: Store) -> None:
    system.run("UPDATE jobs SET completed_at = ? WHERE name = 'job'", now() - timedelta(days=40))
    system.run("DELETE FROM requests WHERE segment = 1")
    results_of(system, 1).unlink()
    results_of(system, -1).unlink()
    segment_path(system.directory.segments, 1).unlink()
    assert codes(system) == []

    system.run("DELETE FROM requests WHERE segment = 4 AND row_index = 0")

    lost = finding(system, "line_without_request")
    assert lost.ids == ("cafe0123-4-0 id-0",)
    assert lost.count == 1


def test_only_the_first_ids_are_named_and_all_are_counted(system: Store) -> None:
    system.take_in(chat_lines(50, prefix="many"), name="many", source_id="s9")
    system.run("UPDATE requests SET state = 'lost' WHERE custom_id LIKE 'many%'")

    found = finding(system, "unknown_state")

    assert len(found.ids) == 20
    assert found.count == 50


def test_a_line_that_repeats_a_forgotten_one_is_not_taken_for_a_lost_one(system: Store) -> None:
    label = JobSettings(label="team")
    system.take_in(chat_lines(2, prefix="first"), name="a", source_id="s8", settings=label)
    system.take_in(
        [*chat_lines(2, prefix="first"), *chat_lines(2, prefix="later")],
        name="b", source_id="s9", settings=label,
    )  # fmt: skip
    system.run(
        "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
        "finished_at = now()::TIMESTAMP WHERE custom_id LIKE 'first%'"
    )
    write_own_results_of_requests(system.ledger)
    system.deliver()
    system.run("UPDATE jobs SET endless = true WHERE label = 'team'")
    system.run("DELETE FROM requests WHERE custom_id LIKE 'first%'")
    assert codes(system) == []

    system.run("DELETE FROM requests WHERE custom_id = 'later-1'")

    found = finding(system, "line_without_request")
    assert found.ids == ("cafe0123-6-3 later-1",)
    assert found.count == 1
