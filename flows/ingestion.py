"""Ingest: dropped files become accepted requests."""

import asyncio
from typing import Any, Final

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import counted, each, owner_of, skipped, tell
from tasks.received import TakenReceived, take_in_received
from tasks.staging import (
    TakenSource,
    claim_files,
    reclaim_grown_files,
    sources_to_take_in,
    take_in_source,
)

_RECEIVED: Final = "what was received"
_NAMED: Final = 3


@flow(name="ingest", flow_run_name="ingest")
async def ingest() -> State[Any]:
    """Take in what receivers accepted, every complete file of the inbox, and what a crash left."""
    with owner_of("ingest") as owned:
        if not owned:
            return skipped("ingest")
        await asyncio.to_thread(reclaim_grown_files)
        await asyncio.to_thread(claim_files)
        sources = await asyncio.to_thread(sources_to_take_in)
        return await tell(_story(await each(_take_in, [_RECEIVED, *sources])))


def _take_in(source: str) -> TakenSource | TakenReceived:
    return take_in_received() if source == _RECEIVED else take_in_source(source)


def _story(taken: list[TakenSource | TakenReceived]) -> str:
    files = [source.name for source in taken if isinstance(source, TakenSource)]
    logs = sum(source.logs for source in taken if isinstance(source, TakenReceived))
    if not files and not logs:
        return "ingest: nothing new"
    names = ", ".join(files[:_NAMED])
    if len(files) > _NAMED:
        names += f" and {len(files) - _NAMED} more"
    if logs:
        names = " and ".join(filter(None, (names, counted(logs, "log"))))
    accepted = sum(source.accepted for source in taken)
    rejected = sum(source.rejected for source in taken)
    return f"ingest {names}: {counted(accepted, 'request')}, {rejected:,} rejected"


if __name__ == "__main__":
    asyncio.run(ingest())
