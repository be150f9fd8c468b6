"""Upkeep: backup, provider clean-up, retention."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.running import owner_of, skipped, tell
from tasks.upkeep import back_up, delete_provider_files, forget_old_files, unlearn_limits


@flow(name="upkeep", flow_run_name="upkeep")
async def upkeep() -> State[Any]:
    """Forget what is old, back up the ledger, delete collected files at the provider."""
    with owner_of("upkeep") as owned:
        if not owned:
            return skipped("upkeep")
        # Forgetting goes first: it makes room, a copy of the ledger takes some.
        forgotten = await asyncio.to_thread(forget_old_files)
        await asyncio.to_thread(back_up)
        deleted = await asyncio.to_thread(delete_provider_files)
        await asyncio.to_thread(unlearn_limits)
        return await tell(
            f"upkeep: ledger backed up, {deleted:,} provider files deleted, "
            f"{forgotten:,} old files forgotten"
        )


if __name__ == "__main__":
    asyncio.run(upkeep())
