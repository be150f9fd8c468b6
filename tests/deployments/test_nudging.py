"""Nudges: at most one waits per flow, and a failing flow is left in peace for a while."""

import pytest

from deployments.nudging import Nudges


def test_a_flow_nudged_often_is_taken_once() -> None:
    nudges = Nudges(["submit", "track"])
    for _ in range(3):
        nudges.nudge("submit")
    assert nudges.take(["submit", "track"]) == ("submit",)
    assert nudges.take(["submit", "track"]) == ()


def test_a_nudge_of_a_busy_flow_waits_until_it_is_free() -> None:
    nudges = Nudges(["submit"])
    nudges.nudge("submit")
    assert nudges.take([]) == ()
    assert nudges.take(["submit"]) == ("submit",)


def test_only_what_is_new_wakes_the_runner() -> None:
    woken: list[int] = []
    nudges = Nudges(["submit"])
    nudges.on_nudge(lambda: woken.append(1))
    nudges.nudge("submit")
    nudges.nudge("submit")
    assert woken == [1]


def test_nudges_of_a_flow_that_failed_wait_and_go_on_after_a_success() -> None:
    nudges = Nudges(["submit"])
    nudges.failed("submit")
    nudges.nudge("submit")
    assert nudges.take(["submit"]) == ()
    nudges.succeeded("submit")
    assert nudges.take(["submit"]) == ("submit",)


def test_the_pause_after_failures_grows_to_a_minute_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("deployments.nudging.time.monotonic", lambda: now[0])
    nudges = Nudges(["submit"])
    nudges.nudge("submit")
    for _ in range(20):
        nudges.failed("submit")
    now[0] = 59.0
    assert nudges.take(["submit"]) == ()
    now[0] = 60.0
    assert nudges.take(["submit"]) == ("submit",)


def test_a_misspelt_flow_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match=r"'sumbit'.*\['submit'\]"):
        Nudges(["submit"]).nudge("sumbit")
