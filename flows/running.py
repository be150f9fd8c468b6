"""What every flow run does around its steps: own its flow, name itself, tell its story."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from batching.errors import DiskFull, StopRequested
from storage.locks import exclusive_lock_if_free
from tasks.resources import resources

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def owner_of(flow_name: str) -> Iterator[bool]:
    """Yield whether this run owns the flow; held to the end, released even by a kill.

    Owning it proves that the previous owner is dead, so what it left may be settled.
    """
    resources().directory.create()
    with exclusive_lock_if_free(resources().directory.locks / f"{flow_name}.lock") as owned:
        yield owned


def skipped(flow_name: str) -> State[Any]:
    """Return the end of a run whose flow another process is running at this moment."""
    return Completed(name="Skipped", message=f"{flow_name} is being run by another process")


async def each(step: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what the step brings for every item; one that fails does not hold up the others.

    The first error is raised when all have had their turn, a stop or a full disk at once.
    """
    results: list[Result] = []
    errors: list[Exception] = []
    for item in items:
        try:
            results.append(await asyncio.to_thread(step, item))
        except (StopRequested, DiskFull):
            raise
        except Exception as error:  # noqa: BLE001 - raised below, when all have had their turn
            get_run_logger().exception("%s failed", item)
            errors.append(error)
    if errors:
        raise errors[0]
    return results


async def tell(story: str) -> State[Any]:
    """Name the run after what it did, log that, and return its end."""
    get_run_logger().info(story)
    if flow_run.id:
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, name=story[:200])
    return Completed(message=story)


async def show(key: str, rows: Sequence[Mapping[str, Any]], *, about: str) -> None:
    """Publish a table under a fixed key, so that its history can be looked through."""
    if rows:
        table = [{name: str(value) for name, value in row.items()} for row in rows]
        await acreate_table_artifact(table=table, key=key, description=about)


def counted(number: int, noun: str) -> str:
    """Return `1 batch`, `3 batches`, `120,412 requests`."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {plural}"
