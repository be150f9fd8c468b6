"""Which lines of a batch go wrong, and how."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.records import AppliedScenario, BatchRecord

DEFAULT_SHARE = 0.1
LINE_SEPARATORS = " one\u2028two\u2029three\u0085four"
HASH_RANGE = 1 << 64


def falls_into_share(key: str, share: float, seed: int = 0) -> bool:
    """Return whether a key is among the given share of all keys, always the same ones."""
    digest = blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * HASH_RANGE


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line about to be answered."""

    ordinal: int
    custom_id: str
    raw: bytes
    body_hash: int


class Selector:
    """Tells which lines a scenario means."""

    def __init__(self, scenario: AppliedScenario) -> None:
        self._share = scenario.number("share")
        self._every = scenario.integer("every")
        self._first = scenario.integer("first")
        self._containing = scenario.text("containing").encode()
        self._by_body = scenario.text("by") == "body"
        self._seed = scenario.integer("seed")
        if not (self._share or self._every or self._first or self._containing):
            self._share = DEFAULT_SHARE

    def picks(self, line: Line) -> bool:
        """Return whether this line is meant."""
        if self._every and line.ordinal % self._every == self._every - 1:
            return True
        if line.ordinal < self._first or (self._containing and self._containing in line.raw):
            return True
        key = str(line.body_hash) if self._by_body else line.custom_id
        return bool(self._share) and falls_into_share(key, self._share, self._seed)


@dataclass(frozen=True, kw_only=True)
class LineError:
    """An HTTP error that takes the place of an answer."""

    status: int
    code: str
    in_output_file: bool = False


class LineFaults:
    """All that the scenarios of a batch do to its lines."""

    def __init__(self, batch: BatchRecord, failed_before: Callable[[int, int], int]) -> None:
        self._failed_before = failed_before
        self._errors = [
            (each, Selector(each)) for each in batch.scenarios if each.name == "error_lines"
        ]
        self._dropped = _first_of(batch, "dropped_lines")
        self._duplicated = _first_of(batch, "duplicated_lines")
        self._broken = _first_of(batch, "broken_lines")
        self._all_fail = batch.scenario("all_fail")
        self.any = bool(
            self._errors or self._dropped or self._duplicated or self._broken or self._all_fail
        )
        self.suffix = LINE_SEPARATORS if batch.scenario("line_separators") else ""
        without = batch.scenario("no_usage")
        self.shows_usage = without is None or without.text("where") == "batch"
        self.failures: list[tuple[int, int]] = []

    def error(self, line: Line) -> LineError | None:
        """Return the error that this line ends with, if it does."""
        if self._all_fail is not None:
            return _line_error(self._all_fail)
        for scenario, selector in self._errors:
            if selector.picks(line) and self._still_fails(scenario, line):
                return _line_error(scenario)
        return None

    def is_dropped(self, line: Line) -> bool:
        """Return whether this line is in neither file."""
        return self._dropped is not None and self._dropped[1].picks(line)

    def is_free(self) -> bool:
        """Return whether dropped lines never ran, hence cost nothing."""
        return self._dropped is None or not self._dropped[0].flag("paid")

    def is_duplicated(self, line: Line) -> bool:
        """Return whether this line is in its file twice."""
        return self._duplicated is not None and self._duplicated[1].picks(line)

    def is_broken(self, line: Line) -> bool:
        """Return whether the answer's line is cut in the middle."""
        return self._broken is not None and self._broken[1].picks(line)

    def _still_fails(self, scenario: AppliedScenario, line: Line) -> bool:
        attempts = scenario.integer("attempts")
        if not attempts:
            return True
        if self._failed_before(scenario.rule, line.body_hash) >= attempts:
            return False
        self.failures.append((scenario.rule, line.body_hash))
        return True


def _first_of(batch: BatchRecord, name: str) -> tuple[AppliedScenario, Selector] | None:
    scenario = batch.scenario(name)
    return None if scenario is None else (scenario, Selector(scenario))


ERROR_CODES = {400: "invalid_request", 401: "invalid_api_key", 429: "rate_limit_exceeded"}
SERVER_ERROR = 500


def _line_error(scenario: AppliedScenario) -> LineError:
    status = scenario.integer("status")
    fallback = "server_error" if status >= SERVER_ERROR else ERROR_CODES.get(status, "error")
    return LineError(
        status=status,
        code=scenario.text("code") or fallback,
        in_output_file=scenario.text("file") == "output",
    )
