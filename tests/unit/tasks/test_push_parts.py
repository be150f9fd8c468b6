"""What a watcher of a run learns: of each target alone, and of many targets together."""

import pytest

from tasks.push_parts import MOST_OWN_PARTS, OTHER_TARGETS, Part, Parts, Tally


def test_each_target_has_a_part_that_ends_with_what_it_took() -> None:
    told: list[Part] = []
    tallies: dict[str, Tally] = {}
    parts = Parts(told.append, tallies)
    parts.begin({"a": 3, "b": 5})
    assert [(part.target, part.due) for part in told] == [("b", 5), ("a", 3)]
    tallies["a"] = Tally(taken=2, failed=1)
    parts.end("a")
    assert told[1].ended.result(0) == Tally(taken=2, failed=1)
    assert not told[0].ended.done()
    parts.end_all()
    assert told[0].ended.result(0) == Tally()


def test_what_a_target_does_after_its_part_is_told_with_the_rest() -> None:
    told: list[Part] = []
    tallies = {"a": Tally(taken=3, failed=1)}
    parts = Parts(told.append, tallies)
    parts.begin({"a": 4})
    parts.end("a")
    parts.begin({"a": 1})
    parts.begin({"a": 1})
    assert [part.target for part in told] == ["a", OTHER_TARGETS]
    tallies["a"] = Tally(taken=4, failed=2, given_up=1)
    parts.end("a")
    parts.end_all()
    assert told[0].ended.result(0) == Tally(taken=3, failed=1)
    assert told[1].ended.result(0) == Tally(taken=1, failed=1, given_up=1)


def test_of_many_targets_those_with_the_fewest_results_share_a_part() -> None:
    told: list[Part] = []
    tallies = {f"t{number}": Tally(taken=number) for number in range(1, 101)}
    parts = Parts(told.append, tallies)
    parts.begin({target: tally.taken for target, tally in tallies.items()})
    assert len(told) == MOST_OWN_PARTS + 1
    assert told[0].target == "t100"
    assert told[-1].target == OTHER_TARGETS
    assert told[-1].due == sum(range(1, 101 - MOST_OWN_PARTS))
    parts.end_all()
    assert sum(part.ended.result(0).taken for part in told) == sum(range(1, 101))
    assert told[-1].ended.result(0).taken == told[-1].due


def test_an_error_ends_the_part_of_its_target_only() -> None:
    told: list[Part] = []
    parts = Parts(told.append, {})
    parts.begin({"bad": 2, "good": 1})
    parts.end("bad", OSError("unreadable"))
    parts.end_all()
    with pytest.raises(OSError, match="unreadable"):
        told[0].ended.result(0)
    assert told[1].ended.result(0) == Tally()


def test_an_error_of_the_run_ends_every_part_that_is_open() -> None:
    told: list[Part] = []
    parts = Parts(told.append, {})
    parts.begin({"done": 1, "open": 2})
    parts.end("done")
    parts.begin({"done": 1})
    parts.end_all(MemoryError())
    assert told[1].ended.result(0) == Tally()
    for part in (told[0], told[2]):
        assert isinstance(part.ended.exception(0), MemoryError)


def test_a_watcher_that_goes_away_disturbs_nothing() -> None:
    told: list[Part] = []
    parts = Parts(told.append, {})
    parts.begin({"a": 1})
    assert not told[0].ended.cancel()
    parts.end("a")
