"""Deliver: bring results to their destinations and complete jobs."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import counted, owner_of, skipped, tell
from tasks.delivery import answer_without_provider, complete_jobs, deliver_to_files


@flow(name="deliver", flow_run_name="deliver")
async def deliver() -> State[Any]:
    """Append every waiting result to the outbox; sum up the jobs that are complete."""
    with owner_of("deliver") as owned:
        if not owned:
            return skipped("deliver")
        await asyncio.to_thread(answer_without_provider)
        delivered = await asyncio.to_thread(deliver_to_files)
        completed = await asyncio.to_thread(complete_jobs)
        return await tell(_story(delivered, completed))


def _story(delivered: dict[str, int], completed: list[str]) -> str:
    if not delivered and not completed:
        return "deliver: nothing to deliver"
    story = f"deliver {counted(sum(delivered.values()), 'result')}"
    if delivered:
        story += f" of {', '.join(list(delivered)[:3])}"
    return story + (f"; completed {', '.join(completed[:5])}" if completed else "")


if __name__ == "__main__":
    asyncio.run(deliver())
