"""How fast one target is called: fewer calls at once when it asks for less, a rate if given."""

import asyncio
import time

from batching.deliveries import Outcome
from tasks.push_pace import Pace

TAKEN, THROTTLED = [Outcome.SUCCESS], [Outcome.SUCCESS, Outcome.THROTTLED]


def test_what_may_be_under_way_is_halved_down_to_one_call() -> None:
    pace = Pace(8, None)
    allowed = [pace.allowed]
    for _ in range(5):
        pace.answered(THROTTLED)
        allowed.append(pace.allowed)
    assert allowed == [8, 4, 2, 1, 1, 1]


def test_what_may_be_under_way_grows_by_one_for_each_round_of_answers() -> None:
    pace = Pace(8, None)
    pace.answered(THROTTLED)
    for _ in range(5):
        pace.answered(TAKEN)
    assert pace.allowed == 5
    for _ in range(100):
        pace.answered(TAKEN)
    assert pace.allowed == 8


def test_other_failures_do_not_slow_down() -> None:
    pace = Pace(8, None)
    pace.answered([Outcome.TIMEOUT, Outcome.HTTP_STATUS_NOT_2XX])
    assert pace.allowed == 8


def test_a_lane_waits_until_there_is_room_for_it_again() -> None:
    async def scene() -> None:
        pace = Pace(2, None)
        pace.answered(THROTTLED)
        await pace.room(0)
        second = asyncio.create_task(pace.room(1))
        await asyncio.sleep(0)
        assert not second.done()
        pace.answered(TAKEN)
        await second

    asyncio.run(scene())


def test_at_the_end_no_lane_waits_any_more() -> None:
    async def scene() -> None:
        pace = Pace(8, None)
        for _ in range(3):
            pace.answered(THROTTLED)
        waiting = [asyncio.create_task(pace.room(lane)) for lane in range(8)]
        await asyncio.sleep(0)
        pace.end()
        await asyncio.gather(*waiting)

    asyncio.run(scene())


def test_a_rate_spaces_the_calls_of_all_lanes() -> None:
    async def scene() -> float:
        pace = Pace(8, 50.0)
        began = time.monotonic()
        await asyncio.gather(*[pace.turn() for _ in range(6)])
        return time.monotonic() - began

    assert asyncio.run(scene()) >= 0.1  # six calls at 50 a second have five pauses of 20 ms
