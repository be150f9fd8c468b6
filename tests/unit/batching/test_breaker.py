"""When a target is left alone, for how long, and what brings it back."""

from datetime import UTC, datetime, timedelta

from batching.breaker import Breaker, TargetHealth

AT = datetime(2026, 1, 1, tzinfo=UTC)


def fail(breaker: Breaker, times: int, *, at: datetime = AT) -> None:
    for _ in range(times):
        breaker.failed("timeout", "no answer", at=at, chance=0.5)


def test_it_opens_at_ten_attempts_of_which_half_failed() -> None:
    breaker = Breaker(TargetHealth())
    for _ in range(5):
        breaker.succeeded(AT)
    fail(breaker, 4)
    assert not breaker.is_open(AT)
    fail(breaker, 1)
    assert breaker.health.open_until == AT + timedelta(seconds=15)


def test_failures_of_a_minute_ago_are_forgotten() -> None:
    breaker = Breaker(TargetHealth())
    fail(breaker, 9)
    fail(breaker, 9, at=AT + timedelta(seconds=61))
    assert not breaker.is_open(AT + timedelta(seconds=61))


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_ten_minutes() -> None:
    at = AT
    breaker = Breaker(TargetHealth())
    fail(breaker, 10)
    pauses = []
    for _ in range(8):
        assert breaker.health.open_until is not None
        pauses.append((breaker.health.open_until - at).total_seconds())
        at = breaker.health.open_until
        breaker.failed("timeout", None, at=at, chance=0.5)
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600]


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = Breaker(TargetHealth(openings=3, open_until=AT, failing_since=AT, problem="dead"))
    assert breaker.needs_probe
    breaker.succeeded(AT)
    assert breaker.health == TargetHealth(last_success_at=AT, last_outcome="success")


def test_a_success_that_arrives_late_does_not_close_it() -> None:
    breaker = Breaker(TargetHealth())
    fail(breaker, 10)
    breaker.succeeded(AT)
    assert breaker.is_open(AT)
    assert breaker.needs_probe


def test_trouble_opens_it_at_once_and_counts_as_no_failure() -> None:
    breaker = Breaker(TargetHealth())
    breaker.trouble("connection_error", "broker down", at=AT, chance=0.5)
    assert breaker.is_open(AT)
    assert breaker.health.failing_since is None


def test_a_pause_that_was_asked_for_lasts_at_most_an_hour() -> None:
    breaker = Breaker(TargetHealth())
    breaker.leave_alone(1e6, at=AT)
    assert breaker.health.open_until == AT + timedelta(hours=1)
    assert not breaker.needs_probe
