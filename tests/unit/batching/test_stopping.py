import asyncio
import threading

import pytest

from batching.errors import StopRequested
from batching.stopping import check_stop, stop_requested, stop_signal


def test_without_a_signal_nothing_asks_for_a_stop() -> None:
    assert not stop_requested()
    check_stop()


def test_a_step_stops_when_its_signal_is_set() -> None:
    event = threading.Event()
    with stop_signal(event):
        check_stop()
        event.set()
        assert stop_requested()
        with pytest.raises(StopRequested, match="taken up at the next start"):
            check_stop()
    assert not stop_requested()


def test_the_inner_signal_counts_until_it_ends() -> None:
    outer, inner = threading.Event(), threading.Event()
    inner.set()
    with stop_signal(outer):
        with stop_signal(inner):
            assert stop_requested()
        assert not stop_requested()


def test_the_signal_reaches_the_thread_of_a_step_and_no_other_thread() -> None:
    event = threading.Event()
    event.set()
    elsewhere: list[bool] = []

    async def run() -> bool:
        return await asyncio.to_thread(stop_requested)

    with stop_signal(event):
        assert asyncio.run(run())
        thread = threading.Thread(target=lambda: elsewhere.append(stop_requested()))
        thread.start()
        thread.join()
    assert elsewhere == [False]


def test_the_signal_is_taken_back_when_the_step_fails() -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(ValueError, match="broken"), stop_signal(event):
        raise ValueError("broken")
    assert not stop_requested()
