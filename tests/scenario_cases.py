"""Every scenario of a provider alone, and what becomes of 40 requests: the matrix proves it.

The table in `docs/failures.md` is made from this.
"""

from dataclasses import dataclass, field

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
    Case(
        name="paid lines are dropped once",
        first_batch_only=True,
        scenarios=("dropped_lines:every=10,paid=yes",),
        batches=2,
        paid_twice=4,
    ),
    Case(
        name="the provider answers slowly",
        scenarios=("slow_calls:call=batches.retrieve,times=2,seconds=0.2",),
        batches=1,
    ),
    Case(
        name="a batch that always expires before anything ran",
        scenarios=("expires:at=0",),
        batches=11,
        states={"failed": REQUESTS},
        exit_code=3,
    ),
    Case(
        name="a batch is gone for good",
        first_batch_only=True,
        scenarios=("vanished:polls=0,listed=no",),
        batches=2,
        paid_twice=REQUESTS,
    ),
    Case(
        name="a bad line is named",
        scenarios=("bad_lines:containing= 7?",),
        batches=2,
        states={"succeeded": 39, "failed": 1},
        exit_code=3,
    ),
    Case(
        name="all bad lines are named at once",
        scenarios=("bad_lines:containing=7?",),
        batches=2,
        states={"succeeded": 36, "failed": 4},
        exit_code=3,
    ),
    Case(
        name="bad lines are named one at a time",
        scenarios=("bad_lines:containing=7?,shown=1",),
        batches=5,
        states={"succeeded": 36, "failed": 4},
        exit_code=3,
    ),
    Case(
        name="a bad line is not named",
        scenarios=("bad_lines:containing= 7?,names=no",),
        batches=11,
        states={"succeeded": 39, "failed": 1},
        exit_code=3,
    ),
    Case(
        name="a bad line is named by a number that the file does not have",
        scenarios=("bad_lines:containing= 7?,names=beyond",),
        batches=11,
        states={"succeeded": 39, "failed": 1},
        exit_code=3,
    ),
    Case(
        name="every line is bad and none is named",
        scenarios=("bad_lines:share=1,names=no",),
        batches=31,
        states={"failed": REQUESTS},
        exit_code=3,
    ),
    Case(
        name="a batch is refused without a reason",
        scenarios=("refused_batches:times=1",),
        batches=3,
    ),
    Case(
        name="batches are refused for the provider's own trouble",
        scenarios=("refused_batches:times=2,code=server_error",),
        batches=3,
    ),
    Case(
        name="the model cannot be used in a batch",
        scenarios=("refused_batches:times=0,code=model_not_found",),
        batches=1,
        states={"failed": REQUESTS},
        exit_code=3,
    ),
    Case(
        name="uploads above a size are refused",
        scenarios=("small_uploads:bytes=5000",),
        batches=2,
    ),
    Case(
        name="an upload is refused for its content",
        scenarios=("failing_calls:call=files.create,times=3,status=400",),
        batches=2,
    ),
    Case(
        name="a create is refused for its content",
        scenarios=("failing_calls:call=batches.create,times=1,status=400",),
        batches=2,
    ),
]
