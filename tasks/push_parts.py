"""The targets' parts of one run, for whoever watches it: when each began, and what came of it."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

MOST_OWN_PARTS: Final = 20
"""Targets that are watched one by one; each costs Prefect's server 29 ms of CPU."""

OTHER_TARGETS: Final = "other targets"


@dataclass(kw_only=True, slots=True)
class Tally:
    """What has become of the results that were sent, as far as it is recorded."""

    taken: int = 0
    failed: int = 0
    """Attempts that failed, whether or not there will be another."""
    given_up: int = 0
    """Results among them that are not tried again."""

    def add(self, other: "Tally") -> None:
        """Add what became of others."""
        self.taken += other.taken
        self.failed += other.failed
        self.given_up += other.given_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one run does for one target, or for all that have no part of their own."""

    target: str
    due: int
    """Results that were due when it began."""
    ended: "Future[Tally]"


Watch = Callable[[Part], None]
"""Is told of each part when it begins."""


def unwatched(_part: Part) -> None:
    """Let a run go on without anybody who looks at its parts."""


class Parts:
    """Tells the watcher of the parts: one a target, the largest first, and one for the rest.

    The rest is what goes to further targets, and to those that have work again after their
    own part has ended.
    """

    def __init__(self, watch: Watch, tallies: Mapping[str, Tally]) -> None:
        self._watch = watch
        self._tallies = tallies
        self._own: dict[str, Part] = {}
        self._told: dict[str, Tally] = {}
        self._rest: Part | None = None

    def begin(self, due: Mapping[str, int]) -> None:
        """Tell that these targets have work, and how many results each."""
        rest: dict[str, int] = {}
        for target in sorted(due, key=lambda each: -due[each]):
            if target in self._own or len(self._own) >= MOST_OWN_PARTS:
                rest[target] = due[target]
            else:
                self._own[target] = self._begun(target, due[target])
        if rest and self._rest is None:
            self._rest = self._begun(OTHER_TARGETS, sum(rest.values()))

    def end(self, target: str, error: BaseException | None = None) -> None:
        """Tell that nothing more is due for the target, or what has gone wrong."""
        part = self._own.get(target)
        if part is None or part.ended.done():
            return
        self._told[target] = total([self._tallies.get(target, Tally())])
        _settle(part, self._told[target], error)

    def end_all(self, error: BaseException | None = None) -> None:
        """Tell that the run is over."""
        for target in self._own:
            self.end(target, error)
        if self._rest is not None:
            told, everything = total(self._told.values()), total(self._tallies.values())
            left = Tally(
                taken=everything.taken - told.taken,
                failed=everything.failed - told.failed,
                given_up=everything.given_up - told.given_up,
            )
            _settle(self._rest, left, error)

    def _begun(self, target: str, due: int) -> Part:
        part = Part(target=target, due=due, ended=Future())
        part.ended.set_running_or_notify_cancel()  # a watcher that goes away changes nothing
        self._watch(part)
        return part


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of these, apart from them."""
    found = Tally()
    for tally in tallies:
        found.add(tally)
    return found


def _settle(part: Part, tally: Tally, error: BaseException | None) -> None:
    if error is None:
        part.ended.set_result(tally)
    else:
        part.ended.set_exception(error)
