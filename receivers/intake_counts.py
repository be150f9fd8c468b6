"""What came in over REST since this process began, counted by door and outcome."""

from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from receivers.answers import ApiError

SINGLE: Final = "single"
BULK: Final = "bulk"
FILE: Final = "file"

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
REFUSED: Final = "refused"
"""The client can do something about it."""
UNAVAILABLE: Final = "unavailable"
"""Nothing was accepted, because intake is paused or the disk cannot be written."""
_OUTCOMES: Final = (ACCEPTED, DUPLICATE, REFUSED, UNAVAILABLE)


class IntakeCounts:
    """Counts requests, and uploads of many; may be used from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        requests = Counter(
            "obm_intake_requests",
            "requests over REST by door and outcome; those in files are counted when taken in",
            ["door", "outcome"],
            registry=self.registry,
        )
        uploads = Counter(
            "obm_intake_uploads",
            "uploads of many requests by door and outcome",
            ["door", "outcome"],
            registry=self.registry,
        )
        # Made beforehand: each figure is there from the start, and the fast path looks up nothing.
        self._requests = {
            (door, outcome): requests.labels(door, outcome)
            for door in (SINGLE, BULK)
            for outcome in _OUTCOMES
            if (door, outcome) != (BULK, UNAVAILABLE)
        }
        self._uploads = {
            (door, outcome): uploads.labels(door, outcome)
            for door in (BULK, FILE)
            for outcome in _OUTCOMES
        }

    def count_requests(self, door: str, outcome: str, count: int = 1) -> None:
        """Count requests."""
        self._requests[door, outcome].inc(count)

    def count_upload(self, door: str, outcome: str) -> None:
        """Count an upload."""
        self._uploads[door, outcome].inc()


def outcome_of(error: ApiError) -> str:
    """Return what an answer that is no success counts as."""
    is_ours = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return UNAVAILABLE if is_ours else REFUSED
