"""Deliver: bring results to their destinations and complete jobs."""

import asyncio
from collections import Counter
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import counted, owner_of, skipped, tell
from tasks.delivery import (
    answer_without_provider,
    complete_jobs,
    deliver_to_files,
    file_work_waits,
)
from tasks.push_parts import Part
from tasks.push_showing import show_part
from tasks.pushing import push_results

LOOK_SECONDS = 1.0


@flow(name="deliver", flow_run_name="deliver")
async def deliver() -> State[Any]:
    """Bring every waiting result to its destination; sum up the jobs that are complete."""
    with owner_of("deliver") as owned:
        if not owned:
            return skipped("deliver")
        await asyncio.to_thread(answer_without_provider)
        pushing = asyncio.create_task(_push())
        try:
            delivered = await _deliver_to_files_beside(pushing)
        finally:
            await asyncio.wait({pushing})  # it has the ledger and the flow's lock
        completed = await asyncio.to_thread(complete_jobs)  # also when a push has failed
        return await tell(_story(delivered, pushing.result(), completed))


async def _push() -> dict[str, int]:
    """Push with a Prefect task for each target, all of them served by one pool of workers.

    Of a run with more than `MOST_OWN_PARTS` targets, those with the fewest results share one.
    """
    loop = asyncio.get_running_loop()
    shown: list[asyncio.Task[None]] = []

    def show(part: Part) -> None:
        loop.call_soon_threadsafe(lambda: shown.append(loop.create_task(show_part(part))))

    try:
        return await asyncio.to_thread(push_results, show)
    finally:
        await asyncio.gather(*shown, return_exceptions=True)


async def _deliver_to_files_beside(pushing: "asyncio.Task[dict[str, int]]") -> dict[str, int]:
    """Deliver to files now, and whatever comes while results are being pushed."""
    delivered = Counter(await asyncio.to_thread(deliver_to_files))
    while not pushing.done():
        await asyncio.wait({pushing}, timeout=LOOK_SECONDS)
        if not pushing.done() and await asyncio.to_thread(file_work_waits):
            await asyncio.to_thread(answer_without_provider)
            delivered.update(await asyncio.to_thread(deliver_to_files))
            await asyncio.to_thread(complete_jobs)
    return dict(delivered)


def _story(delivered: dict[str, int], pushed: dict[str, int], completed: list[str]) -> str:
    if not delivered and not pushed and not completed:
        return "deliver: nothing to deliver"
    story = f"deliver {counted(sum(delivered.values()) + sum(pushed.values()), 'result')}"
    if delivered:
        story += f" of {', '.join(list(delivered)[:3])}"
    if pushed:
        story += f", {sum(pushed.values()):,} of them to {', '.join(list(pushed)[:3])}"
    return story + (f"; completed {', '.join(completed[:5])}" if completed else "")


if __name__ == "__main__":
    asyncio.run(deliver())
