"""The words of the failure policy: what can happen, whose trouble it is, what follows."""

from enum import StrEnum


class FaultClass(StrEnum):
    """Whose trouble it is, which decides who has to do something about it."""

    NONE = "none"
    ACCOUNT = "account"
    CAPACITY = "capacity"
    TRANSIENT = "transient"
    CONTENT = "content"
    FILE = "file"


class Reaction(StrEnum):
    """What follows."""

    DELIVER = "deliver"
    RESUBMIT = "resubmit"
    SMALLER = "resubmit smaller"
    WAIT = "wait"
    FAIL = "fail"
    CANCEL = "cancel"
    STOP = "stop the account's lanes"


class Counts(StrEnum):
    """What it uses up."""

    NOTHING = "nothing"
    ATTEMPT = "an attempt"
    """Of the request: it was paid, or may have been."""
    RETURN = "a return"
    """Of the request: it came back without having run."""
    TRY = "a try of the batch"


class Proof(StrEnum):
    """What shows that a stopped account works again; a later one shows more."""

    ANSWER = "answer"
    """It may list its batches."""
    CREATE = "create"
    """It may create a batch."""
    RESULT = "result"
    """It is given a result: only that shows that there is credit."""
    VISIBLE = "visible"
    """Its earlier batches are there."""

    def stronger(self, other: "Proof") -> "Proof":
        """Return the one of the two that shows more."""
        return max(self, other, key=list(Proof).index)


class Trouble(StrEnum):
    """What can happen to a call or to a whole batch."""

    NO_ANSWER = "no_answer"
    THROTTLED = "throttled"
    CREATE_UNANSWERED = "create_unanswered"
    ACCOUNT_REFUSED = "account_refused"
    EVERYTHING_GONE = "everything_gone"
    UPLOAD_REFUSED = "upload_refused"
    FILE_NOT_VISIBLE = "file_not_visible"
    TOKENS_USED_UP = "tokens_used_up"
    ABOVE_TOKEN_LIMIT = "above_token_limit"  # noqa: S105 - an outcome, no secret
    REFUSED_FOR_NOW = "refused_for_now"
    REFUSED_FOR_LONG = "refused_for_long"
    LINES_NAMED = "lines_named"
    NO_LINE_NAMED = "no_line_named"
    TOO_LARGE = "too_large"
    REFUSED_FOR_ALL = "refused_for_all"
    REFUSED_FOR_GOOD = "refused_for_good"
    BATCH_GONE = "batch_gone"
    UNKNOWN_STATUS = "unknown_status"
    ENDED = "ended"
    RESULTS_UNREADABLE = "results_unreadable"


class Answer(StrEnum):
    """What the provider's files say about one request of an ended batch."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MAY_PASS = "may_pass"  # noqa: S105 - an answer, no password
    ACCOUNT = "account"
    NOT_RUN = "not_run"
    MISSING = "missing"
    UNREADABLE = "unreadable"
