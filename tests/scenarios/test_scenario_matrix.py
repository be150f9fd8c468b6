"""Every scenario of a provider: all requests end once, and it costs exactly so many batches."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from storage.directory import DataDirectory
from storage.snapshots import snapshot

REQUESTS = 40


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scenario, what it may cost, and what becomes of 40 requests."""

    name: str
    scenarios: tuple[str, ...]
    batches: int
    """Batches that the provider holds in the end: each of them costs."""
    states: dict[str, int] = field(default_factory=lambda: {"succeeded": REQUESTS})
    exit_code: int = 0
    paid_twice: int = 0
    first_batch_only: bool = False
    """The scenario is over with the first batch, so that the rest can succeed."""
    settings: dict[str, object] = field(default_factory=dict)


CASES = [
    Case(name="all goes well", scenarios=("ok",), batches=1),
    Case(
        name="some lines fail for good",
        scenarios=("error_lines:every=10,status=400",),
        batches=1,
        states={"succeeded": 36, "failed": 4},
        exit_code=3,
    ),
    Case(
        name="rate-limited lines pass at the second try",
        scenarios=("error_lines:first=5,status=429,attempts=1",),
        batches=2,
    ),
    Case(
        name="server errors pass at the third try",
        scenarios=("error_lines:first=5,status=500,attempts=2",),
        batches=3,
    ),
    Case(
        name="server errors that stay end after three attempts",
        scenarios=("error_lines:first=5,status=500",),
        batches=3,
        states={"succeeded": 35, "failed": 5},
        exit_code=3,
    ),
    Case(
        name="errors stand in the output file",
        scenarios=("error_lines:every=10,status=400,file=output",),
        batches=1,
        states={"succeeded": 36, "failed": 4},
        exit_code=3,
    ),
    Case(
        name="every line fails and there is no output file",
        scenarios=("all_fail:status=400",),
        batches=1,
        states={"failed": REQUESTS},
        exit_code=3,
    ),
    Case(
        name="the batch expires half-way",
        first_batch_only=True,
        scenarios=("expires:at=0.5",),
        batches=2,
    ),
    Case(
        name="an expired batch names a server error",
        first_batch_only=True,
        scenarios=("expires:at=0.5,text=generic",),
        batches=2,
    ),
    Case(
        name="an expired batch does not list what it left",
        first_batch_only=True,
        scenarios=("expires:at=0.5", "unlisted_rest"),
        batches=2,
    ),
    Case(
        name="the batch expires before anything ran",
        first_batch_only=True,
        scenarios=("expires:at=0",),
        batches=2,
    ),
    Case(
        name="somebody cancels the batch outside",
        scenarios=("cancelled_outside:at=0.5",),
        batches=1,
        states={"succeeded": 20, "cancelled": 20},
        exit_code=3,
    ),
    Case(
        name="somebody cancels outside and the rest is not listed",
        scenarios=("cancelled_outside:at=0.5", "unlisted_rest"),
        batches=1,
        states={"succeeded": 20, "cancelled": 20},
        exit_code=3,
    ),
    Case(
        name="the token limit refuses the first three creates",
        scenarios=("token_limit:times=3",),
        batches=4,
    ),
    Case(
        name="the token limit refuses as an HTTP 400",
        scenarios=("token_limit:times=2,as=400",),
        batches=1,
    ),
    Case(
        name="the token limit refuses as an HTTP 429",
        scenarios=("token_limit:times=2,as=429",),
        batches=1,
    ),
    Case(
        name="a hidden token limit holds less than half",
        scenarios=("hidden_limit:tokens=400",),
        batches=4,
    ),
    Case(
        name="lines are dropped once",
        first_batch_only=True,
        scenarios=("dropped_lines:every=10",),
        batches=2,
    ),
    Case(name="lines come twice", scenarios=("duplicated_lines:every=5",), batches=1),
    Case(
        name="answers are cut in the middle",
        first_batch_only=True,
        scenarios=("broken_lines:every=10",),
        batches=2,
        paid_twice=4,
    ),
    Case(name="foreign lines come along", scenarios=("foreign_lines:count=3",), batches=1),
    Case(name="garbage comes along", scenarios=("unparseable_lines:count=2",), batches=1),
    Case(name="blank lines come along", scenarios=("blank_lines",), batches=1),
    Case(name="answers hold line separators", scenarios=("line_separators",), batches=1),
    Case(name="no usage is told", scenarios=("no_usage",), batches=1),
    Case(name="counts are null", scenarios=("no_counts:as=null",), batches=1),
    Case(name="counts are absent", scenarios=("no_counts:as=absent",), batches=1),
    Case(name="the error file id is empty", scenarios=("empty_error_file_id",), batches=1),
    Case(name="a status is unknown", scenarios=("unknown_status:polls=3",), batches=1),
    Case(
        name="the file is not found right after the upload",
        scenarios=("cannot_find_file:times=2",),
        batches=1,
    ),
    Case(
        name="the file is not found and the batch fails for it",
        scenarios=("cannot_find_file:times=1,as=failed",),
        batches=2,
    ),
    Case(
        name="the file is not found for longer than is waited",
        scenarios=("cannot_find_file:seconds=2",),
        batches=1,
    ),
    Case(
        name="the create is answered too late but the batch exists",
        scenarios=("slow_create:times=1,seconds=4,batch=exists",),
        batches=1,
    ),
    Case(
        name="the create is answered too late and the batch shows later",
        scenarios=("slow_create:times=1,seconds=4,batch=hidden,hidden_seconds=1",),
        batches=1,
    ),
    Case(
        name="the create is answered too late and made nothing",
        scenarios=("slow_create:times=1,seconds=4,batch=never",),
        batches=1,
    ),
    Case(
        name="the connection ends after the create was done",
        scenarios=("dropped_create:times=1,batch=exists",),
        batches=1,
    ),
    Case(
        name="the connection ends and nothing was made",
        scenarios=("dropped_create:times=1,batch=never",),
        batches=1,
    ),
    Case(
        name="every call fails now and then",
        scenarios=("failing_calls:call=batches.retrieve,times=2,status=503",),
        batches=1,
    ),
    Case(
        name="uploads are throttled",
        scenarios=("failing_calls:call=files.create,times=2,status=429,retry_after=0",),
        batches=1,
    ),
    Case(
        name="creates are throttled",
        scenarios=(
            "failing_calls:call=batches.create,times=2,status=429,code=rate_limit_exceeded",
        ),
        batches=1,
    ),
    Case(
        name="creates answer 500",
        scenarios=("failing_calls:call=batches.create,times=1,status=500",),
        batches=1,
    ),
    Case(
        name="the upload's connection ends",
        scenarios=("dropped_calls:call=files.create,times=1",),
        batches=1,
    ),
    Case(
        name="downloads end early",
        scenarios=("cut_downloads:times=2,at=0.5,as=closed",),
        batches=1,
    ),
    Case(
        name="a download looks whole but is short",
        scenarios=("cut_downloads:times=2,at=0.5,as=short",),
        batches=1,
    ),
    Case(name="downloads answer 404 twice", scenarios=("missing_downloads:times=2",), batches=1),
    Case(
        name="the output file stays away",
        scenarios=("missing_downloads:times=0,file=output",),
        batches=1,
        states={"failed": REQUESTS},
        exit_code=3,
    ),
    Case(
        name="a poll answers 404 for a moment",
        scenarios=("vanished:polls=2,listed=yes",),
        batches=1,
    ),
    Case(
        name="the batch is stuck in finalizing for a while",
        scenarios=("stuck:phase=finalizing,seconds=1",),
        batches=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_scenario_ends_every_request_once_for_exactly_so_many_batches(
    case: Case, installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    created_before = installation.simulator.counters()["batches_created"]
    paid_twice_before = installation.simulator.counters()["lines_paid_more_than_once"]
    requests = [chat(f"{case.name} {number}") for number in range(REQUESTS)]
    installation.simulator.set_scenarios(
        *case.scenarios, next_batches=1 if case.first_batch_only else None
    )
    installation.drop("job.jsonl", requests)

    exit_code = installation.run(**case.settings)

    counters = installation.simulator.counters()
    delivered = Counter(line["custom_id"] for line in installation.results("job"))
    assert delivered == Counter(request["custom_id"] for request in requests)
    assert [line["custom_id"] for line in installation.results("job", "results.sorted.jsonl")] == [
        request["custom_id"] for request in requests
    ]
    assert installation.states == case.states
    assert exit_code == case.exit_code
    assert counters["batches_created"] - created_before == case.batches
    assert counters["lines_paid_more_than_once"] - paid_twice_before == case.paid_twice


def test_an_account_without_credit_stops_its_lanes_and_burns_no_attempt(
    installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    installation.simulator.set_scenarios(
        "error_lines:share=1,status=429,code=insufficient_quota", next_batches=1
    )
    installation.drop("job.jsonl", [chat(f"credit {number}") for number in range(10)])

    assert installation.run() == 2

    assert installation.states == {"pending": 10}
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        assert reader.value("SELECT max(attempts) FROM requests") == 0
