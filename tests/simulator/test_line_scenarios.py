from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Account
    from openai.types import Batch


def ids(lines: list[dict[str, Any]]) -> set[str]:
    return {line["custom_id"] for line in lines}


def numbers(*wanted: int) -> set[str]:
    return {f"id-{number}" for number in wanted}


def test_a_share_of_the_lines_ends_with_an_error(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:share=0.2,status=429")
    batch = account.run(account.lines(200))
    output, errors = account.output(batch), account.errors(batch)
    assert batch.status == "completed"
    assert 20 <= len(errors) <= 60
    assert batch.request_counts is not None
    assert batch.request_counts.failed == len(errors)
    assert ids(output) | ids(errors) == numbers(*range(200))
    assert len(output) + len(errors) == 200
    for line in errors:
        assert line["error"] is None
        assert line["response"]["status_code"] == 429
        assert line["response"]["body"]["error"]["code"] == "rate_limit_exceeded"
        assert set(line["response"]["body"]["error"]) == {"message", "type", "param", "code"}


def test_the_same_lines_fail_again(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:share=0.5")
    first = account.run(account.lines(40))
    second = account.wait(account.create(first.input_file_id))
    assert ids(account.errors(first)) == ids(account.errors(second))


def test_another_seed_takes_other_lines_and_the_custom_id_may_decide(account: Account) -> None:
    found = []
    for seed in (1, 2):
        account.simulator.set_scenarios(f"error_lines:share=0.5,by=custom_id,seed={seed}")
        found.append(ids(account.errors(account.run(account.lines(40)))))
        account.simulator.clear_scenarios()
    assert found[0] != found[1]


def test_every_nth_the_first_and_chosen_lines_can_fail(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:every=10,status=500", next_batches=1)
    account.simulator.set_scenarios("error_lines:first=2,status=400", next_batches=1)
    errors = account.errors(account.run(account.lines(30)))
    statuses = {line["custom_id"]: line["response"]["status_code"] for line in errors}
    assert statuses == {"id-9": 500, "id-19": 500, "id-29": 500, "id-0": 400, "id-1": 400}
    account.simulator.set_scenarios("error_lines:containing=poison,code=insufficient_quota")
    wish = account.lines(3)
    wish[1]["body"]["messages"][0]["content"] = "poison"
    (line,) = account.errors(account.run(wish))
    assert line["custom_id"] == "id-1"
    assert line["response"]["body"]["error"]["code"] == "insufficient_quota"


def test_an_error_may_pass_when_the_same_body_is_tried_again(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:first=5,status=500,attempts=2")
    lines = account.lines(10)
    failed = []
    for attempt in range(3):
        again = [line | {"custom_id": f"{attempt}-{line['custom_id']}"} for line in lines]
        failed.append(len(account.errors(account.run(again))))
    assert failed == [5, 5, 0]


def test_a_failed_line_is_not_billed(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:first=4")
    before = account.simulator.counters()
    account.run(account.lines(10))
    after = account.simulator.counters()
    assert after["lines_executed"] - before["lines_executed"] == 10
    assert after["lines_paid"] - before["lines_paid"] == 6


def test_errors_may_lie_in_the_output_file(account: Account) -> None:
    account.simulator.set_scenarios("error_lines:first=2,file=output")
    batch = account.run(account.lines(5))
    assert batch.error_file_id is None
    assert sorted(line["response"]["status_code"] for line in account.output(batch)) == [
        200,
        200,
        200,
        400,
        400,
    ]


def test_when_everything_fails_there_is_no_output_file(account: Account) -> None:
    account.simulator.set_scenarios("all_fail")
    batch = account.run(account.lines(7))
    assert batch.status == "completed"
    assert batch.output_file_id is None
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 7, "completed": 0, "failed": 7}
    assert ids(account.errors(batch)) == numbers(*range(7))


@pytest.mark.parametrize(("setting", "paid"), [("", 8), (",paid=yes", 10)])
def test_dropped_lines_are_in_no_file(account: Account, setting: str, paid: int) -> None:
    account.simulator.set_scenarios(f"dropped_lines:every=5{setting}")
    before = account.simulator.counters()["lines_paid"]
    batch = account.run(account.lines(10))
    assert ids(account.output(batch)) == numbers(0, 1, 2, 3, 5, 6, 7, 8)
    assert batch.error_file_id is None
    assert account.simulator.counters()["lines_paid"] - before == paid


def test_duplicated_lines_are_there_twice_and_paid_once(account: Account) -> None:
    account.simulator.set_scenarios("duplicated_lines:first=2")
    before = account.simulator.counters()["lines_paid"]
    output = account.output(account.run(account.lines(5)))
    times = Counter(line["custom_id"] for line in output)
    assert times == {"id-0": 2, "id-1": 2, "id-2": 1, "id-3": 1, "id-4": 1}
    assert account.simulator.counters()["lines_paid"] - before == 5


def test_foreign_lines_belong_to_nobody(account: Account) -> None:
    account.simulator.set_scenarios("foreign_lines:count=2")
    output = account.output(account.run(account.lines(5)))
    assert ids(output) == numbers(*range(5)) | {"foreign-0", "foreign-1"}


def parsed(account: Account, batch: Batch) -> tuple[int, int]:
    good = bad = 0
    for line in account.raw(batch.output_file_id).split(b"\n")[:-1]:
        try:
            json.loads(line)
            good += 1
        except ValueError:
            bad += 1
    return good, bad


def test_some_lines_of_the_output_are_no_json(account: Account) -> None:
    account.simulator.set_scenarios("unparseable_lines:count=3", next_batches=1)
    assert parsed(account, account.run(account.lines(5))) == (5, 3)
    account.simulator.set_scenarios("broken_lines:first=2", next_batches=1)
    assert parsed(account, account.run(account.lines(5))) == (3, 2)
    account.simulator.set_scenarios("blank_lines", next_batches=1)
    assert parsed(account, account.run(account.lines(5))) == (5, 3)


def test_answers_may_hold_separators_that_are_no_line_ends(account: Account) -> None:
    account.simulator.set_scenarios("line_separators")
    raw = account.raw(account.run(account.lines(4)).output_file_id)
    assert raw.count(b"\n") == 4
    assert raw.count("\u2028".encode()) == 4
    assert len(raw.decode().splitlines()) > 4


@pytest.mark.parametrize(
    ("where", "on_batch", "on_lines"),
    [("both", False, False), ("batch", False, True), ("lines", True, False)],
)
def test_usage_may_be_missing(account: Account, where: str, on_batch: bool, on_lines: bool) -> None:  # noqa: FBT001 - parameters of a table
    account.simulator.set_scenarios(f"no_usage:where={where}")
    batch = account.run(account.lines(1))
    assert (batch.usage is not None) is on_batch
    (line,) = account.output(batch)
    assert ("usage" in line["response"]["body"]) is on_lines
