"""Track: look at batches on their way, collect those that have ended."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import counted, each, owner_of, show, skipped, tell
from storage.results import Collected
from tasks.collection import batches_to_collect, collect
from tasks.polling import open_batches, poll_batches


@flow(name="track", flow_run_name="track")
async def track() -> State[Any]:
    """Poll every batch that is due and collect every batch that has ended."""
    with owner_of("track") as owned:
        if not owned:
            return skipped("track")
        statuses = await asyncio.to_thread(poll_batches)
        ended = [batch.batch_id for batch in await asyncio.to_thread(batches_to_collect)]
        collected = [found for found in await each(collect, ended) if found is not None]
        await show("obm-batches", await asyncio.to_thread(open_batches), about="Batches under way")
        return await tell(_story(statuses, collected))


def _story(statuses: dict[str, int], collected: list[Collected]) -> str:
    polled = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    story = f"track: {polled or 'nothing to poll'}"
    if collected:
        succeeded = sum(found.succeeded for found in collected)
        failed = sum(found.failed for found in collected)
        again = sum(found.returned for found in collected)
        story += (
            f"; collected {counted(len(collected), 'batch')}: {succeeded:,} succeeded, "
            f"{failed:,} failed, {again:,} go again"
        )
    return story


if __name__ == "__main__":
    asyncio.run(track())
