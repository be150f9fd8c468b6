"""Anything in any order, beside a simple model: conservation holds after every single deed."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from modelled_pipeline import PipelineMachine
from web_receiver import WebReceiver

from simulator.process import SimulatorProcess

Proven = Callable[..., None]


MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it
"""Nothing is cut off here, so that waiting for a disk would prove nothing more."""


@pytest.fixture
def machine(session_simulator: SimulatorProcess) -> Iterator[type[PipelineMachine]]:
    with WebReceiver() as receiver, quick_folder() as folder:
        PipelineMachine.simulator, PipelineMachine.receiver = session_simulator, receiver
        PipelineMachine.folder, PipelineMachine.sums = folder, Counter()
        yield PipelineMachine
    session_simulator.release()
    session_simulator.clear_scenarios()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory, if there is such a place, as each deed is many transactions."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def run(machine: type[PipelineMachine], *, examples: int, steps: int, seeded: bool) -> None:
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=seeded, deadline=None,
        database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
        print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_few_stories_lose_nothing_and_pay_nothing_twice(
    machine: type[PipelineMachine], proven: Proven
) -> None:
    run(machine, examples=4, steps=12, seeded=True)
    sums = machine.sums
    proven(faults=sums["faults"], requests=sums["requests"], lost=0, double_paid=0)


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_many_stories_lose_nothing_and_pay_nothing_twice(
    machine: type[PipelineMachine], proven: Proven
) -> None:
    run(machine, examples=30, steps=30, seeded=False)
    sums = machine.sums
    proven(faults=sums["faults"], requests=sums["requests"], lost=0, double_paid=0)
