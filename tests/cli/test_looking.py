"""`obm status`, `obm jobs`, `obm results`: what stands where, read without disturbing anybody."""

import json
import os
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from command_line import Obm, RequestFile
from factories import Store, chat_line, chat_lines, failure_line, success_line
from running_commands import environment_of

from batching.lifecycle import WaitReason
from batching.planning import BatchLimits, Wait
from storage.accounts import record_trouble
from storage.health import HealthFile
from storage.lanes import record_wait
from storage.ledger import now


@pytest.mark.parametrize(
    "arguments", [("status",), ("jobs",), ("jobs", "--json"), ("results", "x")]
)
def test_without_a_data_directory_they_say_how_to_begin_and_make_none(
    obm: Obm, folder: Path, arguments: tuple[str, ...]
) -> None:
    said = obm(*arguments)
    assert (said.code, said.out, "obm submit FILE" in said.err) == (2, "", True)
    assert list(folder.iterdir()) == []


def test_files_in_the_inbox_are_shown_before_anything_was_taken_in(
    obm: Obm, request_file: RequestFile
) -> None:
    obm("submit", request_file("a.jsonl"))
    status = obm("status", "--json").json
    assert [(file["name"], file["remark"]) for file in status["inbox"]] == [
        ("a.jsonl", "waits to be taken in")
    ]
    assert "a.jsonl" in obm("status").out
    assert obm("jobs", "--json").json == []


def test_what_never_will_be_taken_in_is_told_from_what_waits(obm: Obm, store: Store) -> None:
    for name in ("a.jsonl.part", "b.xlsx", "c.jsonl", ".hidden.jsonl", "c.job.json"):
        (store.directory.inbox / name).write_text("x")
    (store.directory.claimed / "20260101T000000000-abcd__d.jsonl").write_text("x")
    files = {file["name"]: file["remark"] for file in obm("status", "--json").json["inbox"]}
    assert files == {
        "a.jsonl.part": "waits until it loses this ending",
        "b.xlsx": "has no known format",
        "c.jsonl": "waits to be taken in",
        "d.jsonl": "being taken in",
    }


def test_a_lane_says_why_it_waits_and_since_when(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(3))
    with store.ledger.transaction() as transaction:
        record_wait(transaction, 1, Wait(reason=WaitReason.CAPACITY, detail="90 of 100 in use"))
    store.run("UPDATE lanes SET waiting_since = ?", now() - timedelta(minutes=7, seconds=30))
    text = obm("status").out
    assert ["capacity" in text, "90 of 100 in use" in text, "7 min" in text] == [True] * 3
    (lane,) = obm("status", "--json").json["lanes"]
    assert (lane["wait_reason"], lane["pending"]) == ("capacity", 3)


def test_an_account_that_is_refused_is_told_with_what_the_provider_said(
    obm: Obm, store: Store
) -> None:
    record_trouble(store.ledger, "default@http://x", "401 invalid_api_key: Check the key.")
    text = obm("status").out
    assert "The provider refuses the account" in text
    assert "401 invalid_api_key: Check the key." in text
    (trouble,) = obm("status", "--json").json["troubles"]
    assert trouble["account"] == "default@http://x"


def test_requests_and_batches_are_counted_by_state(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(5))
    store.answer_all(store.ended(limits=limits_of(2)))
    store.claim(limits=limits_of(2))
    status = obm("status", "--json").json
    assert status["requests"] == {"succeeded": 2, "batched": 2, "pending": 1}
    assert status["batches"] == {"collected": 1, "planned": 1}
    assert [batch["batch_id"] for batch in status["open_batches"]] == [2]


def limits_of(requests: int) -> BatchLimits:
    return BatchLimits(requests=requests, bytes=10**8, embedding_inputs=10**5)


def test_money_is_what_it_cost_and_what_was_saved(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    lines = [success_line(wire) for wire in store.wire_ids(batch)]
    store.collect(batch, lines, cost_of=lambda _model, _usage: Decimal("1.25"))
    money = obm("status", "--json").json["money"]
    assert (Decimal(money["spent_usd"]), Decimal(money["saved_usd"])) == (
        Decimal("1.25"), Decimal("1.25"),
    )  # fmt: skip
    assert money["models_without_price"] == []


def test_an_unknown_cost_is_said_to_be_unknown(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    store.answer_all(store.ended())
    assert obm("status", "--json").json["money"]["models_without_price"] == ["gpt-4o-mini"]
    assert "the cost of gpt-4o-mini is not known" in obm("status").out


def test_it_says_whether_the_pipeline_runs(obm: Obm, store: Store) -> None:
    assert not obm("status", "--json").json["pipeline_running"]
    HealthFile(store.directory.health, "pipeline").report("running")
    assert obm("status", "--json").json["pipeline_running"]


def test_watching_ends_when_nothing_is_under_way(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    store.answer_all(store.ended())
    assert obm("status", "--watch").code == 0


def test_jobs_show_their_progress(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(4), name="night[red]ly")
    store.answer_all(store.ended())
    (job,) = obm("jobs", "--json").json
    assert (job["name"], job["requests"], job["succeeded"]) == ("night[red]ly", 4, 4)
    text = obm("jobs").out
    assert ["night[red]ly" in text, "4 of 4" in text] == [True, True]


def test_results_come_in_input_order_with_the_users_ids(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(6))
    store.answer_all(store.ended(limits=limits_of(3)))
    store.answer_all(store.ended(limits=limits_of(3)))
    said = obm("results", "job")
    assert said.code == 0
    assert ids_in(said.out) == [f"id-{number}" for number in range(6)]
    assert said.err == ""


def ids_in(text: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def test_results_of_a_job_that_runs_are_those_that_there_are(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(5))
    store.answer_all(store.ended(limits=limits_of(2)))
    said = obm("results", "job")
    assert ids_in(said.out) == ["id-0", "id-1"]
    assert "3 are not answered yet" in said.err


def test_results_hold_the_errors_too(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    good, bad = store.wire_ids(batch)
    store.collect(batch, [success_line(good)], [failure_line(bad)])
    codes = [json.loads(line)["response"]["status_code"] for line in lines_of(obm)]
    assert codes == [200, 400]


def lines_of(obm: Obm) -> list[str]:
    return str(obm("results", "job").out).splitlines()


def test_results_of_one_job_hold_nothing_of_another(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(3, prefix="a"), name="one", source_id="s1")
    store.take_in(chat_lines(3, prefix="b"), name="two", source_id="s2")
    store.answer_all(store.ended())
    assert ids_in(obm("results", "two").out) == ["b-0", "b-1", "b-2"]


def test_results_are_what_was_delivered_byte_for_byte(obm: Obm, folder: Path, store: Store) -> None:
    store.take_in([chat_line('ü "quoted" id'), chat_line("plain")])
    store.answer_all(store.ended())
    store.deliver()
    assert obm("results", "job", "-o", folder / "out.jsonl").code == 0
    lines = (folder / "out.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted(store.outbox("job/results.jsonl"))


def test_results_still_come_after_the_user_took_the_delivered_file_away(
    obm: Obm, store: Store
) -> None:
    store.take_in(chat_lines(2))
    store.answer_all(store.ended())
    store.deliver()
    (store.directory.outbox / "job" / "results.jsonl").unlink()
    assert ids_in(obm("results", "job").out) == ["id-0", "id-1"]


def test_an_unknown_job_is_answered_with_the_nearest_names(obm: Obm, store: Store) -> None:
    for number, name in enumerate(("support-tickets", "reviews")):
        store.take_in(chat_lines(1), name=name, source_id=f"s{number}")
    said = obm("results", "suport-tickets")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "did you mean 'support-tickets'?" in said.err


def test_results_that_retention_deleted_are_said_to_be_deleted(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(1))
    store.run("DELETE FROM requests")
    store.run("UPDATE jobs SET completed_at = ?", now())
    said = obm("results", "job")
    assert (said.code, "OBM_KEEP_REQUESTS_DAYS" in said.err) == (2, True)


def test_a_reader_that_leaves_early_is_no_error(store: Store) -> None:
    store.take_in(chat_lines(2_000))
    store.answer_all(store.ended())
    reading, writing = os.pipe()
    with subprocess.Popen(
        ["obm", "results", "job"], cwd=store.directory.root.parent, env=environment_of(),
        stdout=writing, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (141, b"")


def test_a_ledger_of_a_newer_version_is_refused(obm: Obm, store: Store) -> None:
    store.run("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    said = obm("status")
    assert (said.code, "newer version" in said.err) == (2, True)


def test_looking_changes_nothing_but_the_readers_copy(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    before = contents(store)
    for command in (("status",), ("jobs",), ("results", "job")):
        obm(*command)
    assert contents(store) == before


def contents(store: Store) -> dict[str, bytes]:
    root = store.directory.root
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "snapshots" not in path.parts
    }
