"""How every Prefect task of the product is declared."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")


def step(*, name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a task that is run each time, whose result stays in memory.

    The ledger remembers what was done, so Prefect neither caches nor stores anything.
    """

    def declare(function: Callable[P, R]) -> Task[P, R]:
        return task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)(
            function
        )

    return declare
