"""Scenarios of a provider as members of pairs, and the groups in which pairs are proven.

A scenario of batches can be in force for one model alone, so a run has many pairs at once, each
in a lane of its own. A scenario of calls is in force for the whole run.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.scenarios import BY_NAME, parse_scenario

REQUESTS_A_PAIR = 12
PAIRS_A_RUN = 12


@dataclass(frozen=True, kw_only=True)
class Member:
    """A scenario (or harmless ones together), how long it is in force, and what it may cost."""

    scenarios: tuple[str, ...]
    more: int = 0
    """So many batches more than one, by itself."""
    next_batches: int | None = None
    """It ends after so many batches; None: it ends by itself, or lasts without harm."""
    destroys: bool = False
    """It destroys answers that were paid, so that they are bought again."""

    @property
    def name(self) -> str:
        """How it is called."""
        return " ".join(self.scenarios)

    @property
    def is_of_calls(self) -> bool:
        """Whether it is in force for every lane."""
        return not any(BY_NAME[parse_scenario(each).name].on_batches for each in self.scenarios)


def _member(
    *scenarios: str, more: int = 0, next_batches: int | None = None, destroys: bool = False
) -> Member:
    return Member(scenarios=scenarios, more=more, next_batches=next_batches, destroys=destroys)


MEMBERS = (
    _member("error_lines:every=4,status=400"),
    _member("error_lines:first=3,status=429", next_batches=2, more=2),
    _member("all_fail:status=500", next_batches=1, more=1),
    _member("dropped_lines:every=5", next_batches=1, more=1),
    _member("dropped_lines:every=5,paid=yes", next_batches=1, more=1, destroys=True),
    _member("broken_lines:every=5", next_batches=1, more=1, destroys=True),
    _member(
        "duplicated_lines:every=5",
        "unparseable_lines:count=2",
        "foreign_lines:count=3",
        "blank_lines",
        "line_separators",
    ),
    _member("no_usage", "no_counts:as=absent", "empty_error_file_id", "unknown_status:polls=2"),
    _member("expires:at=0.5", next_batches=2, more=2),
    _member("expires:at=0.3,text=generic", "unlisted_rest", next_batches=2, more=2),
    _member("cancelled_outside:at=0.5", next_batches=2),
    _member("stuck:phase=finalizing,seconds=0.3"),
    _member("token_limit:times=1", more=1),
    _member("token_limit:times=1,as=429"),
    _member("hidden_limit:tokens=150", more=4),
    _member("cannot_find_file:times=1"),
    _member("cannot_find_file:times=1,as=failed", more=1),
    _member("bad_lines:containing= 7?", more=1),
    _member("bad_lines:containing= 7?,names=no", more=8),
    _member("refused_batches:times=1", more=2),
    _member("refused_batches:times=1,code=server_error", more=1),
    _member("slow_create:times=1,seconds=2.5,batch=exists"),
    _member("dropped_create:times=1,batch=exists"),
    _member("dropped_create:times=1,batch=hidden,hidden_seconds=0.5"),
    _member("dropped_create:times=1,batch=never"),
    _member("vanished:polls=2,listed=yes"),
    _member("vanished:polls=0,listed=no", next_batches=1, more=1, destroys=True),
    _member(
        "failing_calls:call=batches.retrieve,share=0.3,status=503",
        "slow_calls:call=files.content,share=0.3,seconds=0.1",
    ),
    _member("failing_calls:call=files.create,times=8,status=429,retry_after=0"),
    _member("failing_calls:call=batches.create,times=4,status=500"),
    _member("failing_calls:call=batches.create,times=4,status=400", more=14),
    _member("dropped_calls:call=files.create,times=8"),
    _member("cut_downloads:times=20,as=closed"),
    _member("cut_downloads:times=20,as=short"),
    _member("missing_downloads:times=20"),
    _member("small_uploads:bytes=1200", more=3),
)

Pair = tuple[Member, Member]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pairs that one run proves together."""

    name: str
    pairs: tuple[Pair, ...]

    @property
    def of_calls(self) -> tuple[Member, ...]:
        """The scenarios that are in force for every lane of the run."""
        found = {each.name: each for pair in self.pairs for each in pair if each.is_of_calls}
        return tuple(found.values())

    @property
    def destroys(self) -> bool:
        """Whether something in it destroys paid answers."""
        return any(each.destroys for pair in self.pairs for each in pair)


def most_batches(pair: Pair) -> int:
    """Return how many batches the two may cost: each of one's may meet the other."""
    return (1 + pair[0].more) * (1 + pair[1].more)


def may_hide_a_batch(pair: Pair) -> bool:
    """Return whether the batch of an unanswered create may vanish before anybody has seen it."""
    texts = " ".join(scenario for each in pair for scenario in each.scenarios)
    return "vanished" in texts and "_create" in texts


def every_pair() -> list[Pair]:
    """Return each two of the scenarios once."""
    return list(itertools.combinations(MEMBERS, 2))


def groups(pairs: Sequence[Pair]) -> Iterator[Group]:
    """Yield the pairs in groups: what destroys answers apart, each scenario of calls by itself."""
    keyed = sorted(pairs, key=_company)
    for (calls, destroys), company in itertools.groupby(keyed, key=_company):
        for number, part in enumerate(_parts(list(company))):
            name = f"{calls or 'batches'} {'with' if destroys else 'without'} loss {number}"
            yield Group(name=name, pairs=part)


def _company(pair: Pair) -> tuple[str, bool]:
    """Return what all pairs of a run have in common."""
    calls = " and ".join(each.name for each in pair if each.is_of_calls)
    return calls, any(each.destroys for each in pair)


def _parts(pairs: list[Pair]) -> Iterator[tuple[Pair, ...]]:
    for start in range(0, len(pairs), PAIRS_A_RUN):
        yield tuple(pairs[start : start + PAIRS_A_RUN])
