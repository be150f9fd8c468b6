"""A Prefect task for each target that a run pushes to: it lasts as long as the target's part."""

import asyncio
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from storage.deliveries import waiting_by_target
from tasks.push_parts import OTHER_TARGETS, Part, Tally
from tasks.resources import resources
from tasks.steps import step


async def show_part(part: Part) -> None:
    """Let Prefect show the part until it has ended; the part's error is the task's."""
    what = "1 result" if part.due == 1 else f"{part.due:,} results"
    await show_push(what=what, place=part.target.removeprefix("webhook:"), part=part)


@step(name="push to a target", run_name="push {what} to {place}")
async def show_push(*, what: str, place: str, part: Part) -> State[Any]:  # noqa: ARG001 - its name
    """Wait for the end of the part; say what the target took, what failed and what waits."""
    tally = await asyncio.wrap_future(part.ended)
    waiting = await asyncio.to_thread(_waiting, part.target)
    name = "Failing" if tally.failed else "Completed"
    return Completed(name=name, message=_story(tally, waiting))


def _waiting(target: str) -> int:
    with resources().ledger.transaction() as reader:
        found = waiting_by_target(reader)
    return sum(found.values()) if target == OTHER_TARGETS else found.get(target, 0)


def _story(tally: Tally, waiting: int) -> str:
    story = f"{tally.taken:,} taken"
    if tally.failed:
        story += f", {tally.failed:,} failed"
    if tally.given_up:
        story += f" ({tally.given_up:,} of them given up)"
    return story + f", {waiting:,} wait" if waiting else story
