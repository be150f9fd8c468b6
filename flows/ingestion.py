"""Ingest: dropped files become accepted requests."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import counted, each, owner_of, skipped, tell
from tasks.staging import (
    TakenSource,
    claim_files,
    reclaim_grown_files,
    sources_to_take_in,
    take_in_source,
)


@flow(name="ingest", flow_run_name="ingest")
async def ingest() -> State[Any]:
    """Take in every complete file of the inbox, and what a crash left half taken in."""
    with owner_of("ingest") as owned:
        if not owned:
            return skipped("ingest")
        await asyncio.to_thread(reclaim_grown_files)
        await asyncio.to_thread(claim_files)
        taken = await each(take_in_source, await asyncio.to_thread(sources_to_take_in))
        return await tell(_story(taken))


def _story(taken: list[TakenSource]) -> str:
    if not taken:
        return "ingest: nothing new"
    names = ", ".join(source.name for source in taken[:3])
    more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""  # noqa: PLR2004 - three are named
    accepted = sum(source.accepted for source in taken)
    rejected = sum(source.rejected for source in taken)
    return f"ingest {names}{more}: {counted(accepted, 'request')}, {rejected:,} rejected"


if __name__ == "__main__":
    asyncio.run(ingest())
