"""Submit: pending requests become batches at the provider."""

import asyncio
from collections import Counter, deque
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from batching.errors import DiskFull, StopRequested
from flows.running import counted, owner_of, show, skipped, tell
from storage.batches import Batch
from tasks.assembly import assemble_batch, next_batch, unfinished_batches
from tasks.capacity import bring_unsent_requests, probe_account, waiting_lanes
from tasks.creation import create_batch, settle_creates
from tasks.resources import resources
from tasks.sweeping import end_submission_lock
from tasks.upload import upload_batch


@flow(name="submit", flow_run_name="submit")
async def submit() -> State[Any]:
    """Send every batch that may go now; say of the others why they wait."""
    with owner_of("submit") as owned:
        if not owned:
            return skipped("submit")
        await asyncio.to_thread(probe_account)
        await asyncio.to_thread(bring_unsent_requests)
        await asyncio.to_thread(end_submission_lock)
        await asyncio.to_thread(settle_creates)
        sent = await _send_all(deque(await asyncio.to_thread(unfinished_batches)))
        await show("obm-waiting-lanes", await asyncio.to_thread(waiting_lanes), about="Who waits")
        return await tell(_story(sent))


async def _send_all(unfinished: deque[Batch]) -> list[Batch]:
    """Send batches, a few at a time: first what was left half-way, then fresh claims.

    One that fails does not hold up those that were begun; its error is raised at the end.
    """
    sent: list[Batch] = []
    errors: list[Exception] = []
    claiming = asyncio.Lock()

    async def take() -> Batch | None:
        async with claiming:
            if unfinished:
                return unfinished.popleft()
            return None if errors else await asyncio.to_thread(next_batch)

    async def worker() -> None:
        while True:
            try:
                if (batch := await take()) is None:
                    return
                if await _send(batch.batch_id):
                    sent.append(batch)
            except (StopRequested, DiskFull) as error:
                unfinished.clear()
                errors.insert(0, error)
            except Exception as error:  # noqa: BLE001 - raised below, when nothing is under way
                errors.append(error)

    await asyncio.gather(*(worker() for _ in range(resources().settings.parallel_uploads)))
    if errors:
        raise errors[0]
    return sent


async def _send(batch_id: int) -> bool:
    await asyncio.to_thread(assemble_batch, batch_id)
    uploaded = await asyncio.to_thread(upload_batch, batch_id)
    return uploaded and await asyncio.to_thread(create_batch, batch_id)


def _story(sent: list[Batch]) -> str:
    if not sent:
        return "submit: nothing sent"
    models = Counter(batch.model for batch in sent)
    named = ", ".join(f"{model} ×{counted(count, 'batch')}" for model, count in models.items())  # noqa: RUF001 - a sign, not a letter
    return f"submit {named}, {counted(sum(batch.requests for batch in sent), 'request')}"


if __name__ == "__main__":
    asyncio.run(submit())
