"""How long pauses last."""

from datetime import timedelta

LONGEST_ASKED_SECONDS = 3_600.0
"""Whoever asks for a longer pause, provider or target, is tried after an hour all the same."""


def growing_pause_seconds(tries: int, *, first_seconds: float, longest_seconds: float) -> float:
    """Return the pause after so many failures in a row: doubling, up to the longest."""
    if tries <= 0:
        return 0.0
    return min(first_seconds * 2.0 ** min(tries - 1, 30), longest_seconds)


def poll_pause(age: timedelta, *, shortest_seconds: float, longest_seconds: float) -> timedelta:
    """Return when to look at a batch again: a tenth of its age, within the bounds."""
    seconds = min(max(age.total_seconds() / 10.0, shortest_seconds), longest_seconds)
    return timedelta(seconds=max(seconds, min(shortest_seconds, longest_seconds)))
