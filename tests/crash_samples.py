"""Which points are tried: a seeded share of each story's, or all that no other story has had."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crash_proof import Kill, Outcome, Teller
from crash_stories import Story

KILLS_OF_A_SHARE = 6
KILLS_OF_KNOWN_POINTS = 18
"""Where another story was killed already: the same point may mean something else in this one."""
LONGEST_WAY = 60
"""So many points a second kill lies behind the first at most."""


def flow_of(point: str) -> str:
    """Return whose point it is: a flow, or what else a process does."""
    return point.partition(" · ")[0]


def kind_of(point: str) -> str:
    """Return what happens there: `commit before`, `replace after`, `provider create before`."""
    _, seam, *_, moment = point.split(" · ")
    words = seam.split()
    return " ".join([*words[: 2 if words[0] in {"provider", "rabbitmq"} else 1], moment])


@dataclass(kw_only=True)
class Coverage:
    """What the stories of a module have hit so far."""

    wanted: frozenset[str] = frozenset()
    """Flows and kinds of points that go before others."""
    points: set[str] = field(default_factory=set)
    kinds: set[tuple[str, str]] = field(default_factory=set)
    stories: set[str] = field(default_factory=set)

    def note(self, story: Story, kills: Iterable[str]) -> None:
        self.stories.add(story.name)
        for kill in kills:
            point = kill.partition(": ")[2]
            self.points.add(point)
            self.kinds.add((flow_of(point), kind_of(point)))

    def share(self, story: Story, targets: Sequence[Kill]) -> list[Kill]:
        """Return some targets, in their order: first of kinds that no flow has had."""
        chance = random.Random(story.name)  # noqa: S311 - a seeded test
        shuffled = chance.sample(list(targets), len(targets))
        missing = self.wanted - {name for pair in self.kinds for name in pair}
        fresh: dict[object, Kill] = {}
        for kill in shuffled:
            names = (flow_of(kill.point or ""), kind_of(kill.point or ""))
            if missing & set(names):
                fresh[kill] = kill
                missing -= set(names)
        for kill in shuffled:
            names = (flow_of(kill.point or ""), kind_of(kill.point or ""))
            if names not in self.kinds:
                fresh.setdefault(names, kill)
        chosen = list(dict.fromkeys([*fresh.values(), *shuffled]))
        return sorted(chosen[:KILLS_OF_A_SHARE], key=targets.index)


def kill_some(teller: Teller, coverage: Coverage, story: Story) -> dict[str, int]:
    """Tell a story undisturbed and with a share of its kills; return what to note of the proof."""
    undisturbed = teller.tell(story)
    targets = coverage.share(story, undisturbed.targets)
    return _killed(teller, coverage, story, targets, undisturbed.outcome)


def kill_all(teller: Teller, coverage: Coverage, story: Story) -> dict[str, int]:
    """Kill at each point that no story has had, and at a share of the others."""
    undisturbed = teller.tell(story)
    known = [kill for kill in undisturbed.targets if kill.point in coverage.points]
    chance = random.Random(story.name)  # noqa: S311 - a seeded test
    left_out = chance.sample(known, max(0, len(known) - KILLS_OF_KNOWN_POINTS))
    targets = [kill for kill in undisturbed.targets if kill not in left_out]
    return _killed(teller, coverage, story, targets, undisturbed.outcome)


def kill_again(teller: Teller, story: Story, *, seed: int) -> dict[str, int]:
    """Kill at a random point, and again soon after the process has been started anew."""
    chance = random.Random(f"{story.name} {seed}")  # noqa: S311 - a seeded test
    undisturbed = teller.tell(story)
    first = chance.choice(undisturbed.targets)
    second = Kill(step=first.step, after=chance.randint(1, LONGEST_WAY))
    told = teller.tell(story, first, second)
    told.compare(undisturbed.outcome, story)
    return _noted(len(told.kills), 2, undisturbed.outcome)


def _killed(
    teller: Teller, coverage: Coverage, story: Story, targets: Sequence[Kill], wanted: Outcome
) -> dict[str, int]:
    tellings = teller.tellings
    kills = teller.kill_everywhere(story, targets, wanted)
    assert len(kills) == len(targets)
    coverage.note(story, kills)
    return _noted(len(kills), 1 + teller.tellings - tellings, wanted)


def _noted(kills: int, tellings: int, outcome: Outcome) -> dict[str, int]:
    """Return the figures of a proof that has come to its end: whoever lost anything has not."""
    requests = tellings * sum(outcome.states.values())
    return {"kills": kills, "requests": requests, "lost": 0, "double_paid": 0}
