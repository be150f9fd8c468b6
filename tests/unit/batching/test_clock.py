from datetime import UTC, datetime, timedelta

import pytest

from batching.clock import age_seconds, is_due, seen_since

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=365)


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        (None, True),
        (AT - YEAR, True),
        (AT, True),
        (AT + MINUTE, False),
        (AT + HOUR, False),
        (AT + HOUR + MINUTE, True),
        (AT + YEAR, True),
    ],
)
def test_a_wait_is_over_when_its_moment_has_come_or_lies_further_away_than_anybody_waits(
    moment: datetime | None,
    due: bool,  # noqa: FBT001 - what is expected
) -> None:
    assert is_due(moment, AT, longest_seconds=3_600) is due


def test_what_lies_ahead_is_endlessly_old_unless_it_is_only_a_moment_ahead() -> None:
    assert age_seconds(AT - HOUR, AT) == 3_600
    assert age_seconds(AT + timedelta(seconds=5), AT) == 0
    assert age_seconds(AT + HOUR, AT) == float("inf")


def seen(since: datetime, next_look: datetime | None, at: datetime) -> datetime:
    return seen_since(since, next_look=next_look, at=at, seconds=600)


def test_time_in_which_somebody_looked_when_it_was_due_counts_in_full() -> None:
    assert seen(AT, AT + MINUTE, AT + MINUTE) == AT
    assert seen(AT, AT + 9 * MINUTE, AT + 10 * MINUTE) == AT


@pytest.mark.parametrize("gap", [HOUR, YEAR])
def test_of_a_time_in_which_nobody_looked_only_a_fifth_of_what_is_asked_for_counts(
    gap: timedelta,
) -> None:
    at = AT + MINUTE + gap
    assert at - seen(AT, AT + MINUTE, at) == 3 * MINUTE
    assert at - seen(AT, None, at) == 2 * MINUTE


def test_a_clock_that_was_put_back_lets_it_begin_anew() -> None:
    assert seen(AT + YEAR, AT + YEAR + MINUTE, AT) == AT
    assert seen(AT, AT + MINUTE, AT) == AT


def test_many_gaps_do_not_prove_more_than_as_many_fifths() -> None:
    since, at = AT, AT
    for _ in range(4):
        next_look, at = at + timedelta(seconds=15), at + YEAR
        since = seen(since, next_look, at)
    assert at - since < timedelta(seconds=600)
