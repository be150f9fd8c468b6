"""What a process that may be killed does: a role of the product, or an operator's command.

Each act may be repeated after a kill, as an operator or a supervisor would do it.
"""

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from crash_points import Switchboard
from plain_pipeline import plain_flows

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.until_idle import Cycles
from receivers import rabbitmq_storing
from receivers.application import build_application
from receivers.context import build_context
from receivers.rabbitmq import RabbitMQIntake
from storage import backups, held_files, intake_log, jobs, redelivery, uploaded_files
from storage.batch_actions import cancel_batch, forget_batch, restart_batch
from storage.directory import DataDirectory
from storage.doctor.repairs import treat
from storage.holding import hold_lanes
from storage.ledger import Ledger
from storage.rebuilding.new_ledger import rebuild_ledger
from storage.switches import hold_intake
from storage.token_caps import reset_token_cap, set_token_cap
from tasks import upkeep
from tasks.resources import Resources, using

QUIET_SECONDS = 0.5
ACTOR = "test"


def act(name: str, settings: Settings, board: Switchboard, options: Mapping[str, Any]) -> int:
    """Do it; return an exit code as `obm` would."""
    board.flow = name
    return ACTS[name](settings, board, options)


def run_until_idle(settings: Settings, board: Switchboard, options: Mapping[str, Any]) -> int:
    """Run the flows until nothing is left, as `obm run --until-idle` does."""
    flows = {name: board.within(name, run) for name, run in plain_flows().items()}
    cycles = Cycles(settings, threading.Event(), timeout_seconds=options.get("seconds", 60))
    try:
        return cycles.run(flows)
    except ConfigurationError:
        return 2


def run_some(settings: Settings, board: Switchboard, options: Mapping[str, Any]) -> int:
    """Run some flows once."""
    resources = Resources(settings, close_at_once=True)
    with using(resources), closing(resources):
        for name in options["flows"]:
            board.within(name, plain_flows()[name])()
    return 0


def run_upkeep(settings: Settings, board: Switchboard, _options: Mapping[str, Any]) -> int:
    """Run upkeep once, on a ledger that is compacted whenever something was forgotten."""
    upkeep.ROWS_WORTH_COMPACTING = 1

    def work() -> None:
        upkeep.forget_old_files.fn()
        upkeep.back_up.fn()
        upkeep.delete_provider_files.fn()
        upkeep.unlearn_limits()

    resources = Resources(settings)
    with using(resources), closing(resources):
        board.within("upkeep", work)()
    return 0


def rebuild(settings: Settings, _board: Switchboard, _options: Mapping[str, Any]) -> int:
    """Make the ledger anew, as `obm rebuild --force` does: a repeat does not mind the new one."""
    rebuild_ledger(
        DataDirectory(settings.data_dir), force=True, account=settings.account,
        cost_of=Resources(settings).cost_of, memory_bytes=settings.ledger_memory_bytes,
    )  # fmt: skip
    return 0


def command(settings: Settings, _board: Switchboard, options: Mapping[str, Any]) -> int:
    """Do what an operator asks for."""
    ledger = Ledger.open(DataDirectory(settings.data_dir))
    COMMANDS[options["what"]](ledger, options.get("of"))
    return 0


COMMANDS: dict[str, Callable[[Ledger, Any], object]] = {
    "cancel job": lambda ledger, job: jobs.cancel_job(ledger, job, actor=ACTOR),
    "retry job": lambda ledger, job: jobs.retry_job(
        ledger, job, cancelled_too=True, actor=ACTOR
    ),
    "pause job": lambda ledger, job: jobs.set_job_paused(ledger, job, paused=True, actor=ACTOR),
    "resume job": lambda ledger, job: jobs.set_job_paused(ledger, job, paused=False, actor=ACTOR),
    "cancel batch": lambda ledger, batch: cancel_batch(ledger, batch, actor=ACTOR),
    "restart batch": lambda ledger, batch: restart_batch(ledger, batch, actor=ACTOR),
    "forget batch": lambda ledger, batch: forget_batch(ledger, batch, actor=ACTOR),
    "redeliver job": lambda ledger, job: redelivery.redeliver(
        ledger, redelivery.Selection(job=job), failed_only=False, actor=ACTOR
    ),
    "pause lanes": lambda ledger, _: hold_lanes(ledger, None, paused=True, actor=ACTOR),
    "resume lanes": lambda ledger, _: hold_lanes(ledger, None, paused=False, actor=ACTOR),
    "pause intake": lambda ledger, _: hold_intake(ledger, paused=True, actor=ACTOR),
    "open intake": lambda ledger, _: hold_intake(ledger, paused=False, actor=ACTOR),
    "set cap": lambda ledger, model: set_token_cap(ledger, model, 5_000, actor=ACTOR),
    "reset cap": lambda ledger, model: reset_token_cap(ledger, model, actor=ACTOR),
    "flush": lambda ledger, job: jobs.flush(ledger, job, actor=ACTOR),
    "repair": lambda ledger, _: treat(ledger, patience_seconds=0.0),
    "back up": lambda ledger, _: backups.back_up_ledger(ledger.directory, keep=3),
}  # fmt: skip


# The doors --------------------------------------------------------------------------------


def take_requests(settings: Settings, board: Switchboard, options: Mapping[str, Any]) -> int:
    """Be the web process and its client, who insists until each request is acknowledged."""
    return asyncio.run(_web(settings, board, options))


async def _web(settings: Settings, board: Switchboard, options: Mapping[str, Any]) -> int:
    directory = DataDirectory(settings.data_dir)
    directory.create()
    context = build_context(settings, directory)
    intake_log.seal_abandoned_logs(directory)
    uploaded_files.remove_abandoned_uploads(directory)
    held_files.remove_forgotten_files(directory)
    context.known_ids.load()
    client = _Client(build_application(context), board, Path(options["acknowledged"]))
    for wish in options["requests"]:
        await client.insist(**wish)
        await context.commit.seal_if_due()
    await context.commit.close()
    return 0


class _Client:
    """Sends what was not acknowledged, and remembers what is in a file of its own."""

    def __init__(self, app: Any, board: Switchboard, acknowledged: Path) -> None:
        self._app, self._board = app, board
        self._file = os.open(acknowledged, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        lines = acknowledged.read_text().splitlines()
        self._known: dict[str, Any] = dict(json.loads(line) for line in lines)

    async def insist(
        self, key: str, path: str, content: str, kind: str = "application/json"
    ) -> None:
        if key in self._known:
            return
        path = path.format(**{name: said.get("held") for name, said in self._known.items()})
        transport = httpx.ASGITransport(app=self._answering, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.post(
                path, content=content.encode(), headers={"content-type": kind}
            )
        # A file that was started by the process that died does not wait any more.
        assert answer.status_code == 202 or path.endswith("/start"), answer.text
        self._known[key] = answer.json()
        os.write(self._file, json.dumps([key, answer.json()]).encode() + b"\n")

    async def _answering(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            self._board.reach(f"answer {_without_ids(scope['path'])}", "before")
            await send(message)

        await self._app(scope, receive, watched)


def _without_ids(path: str) -> str:
    """Return the path as it is named each time the story is told."""
    return re.sub("[0-9a-f]{16}", "…", path)


def consume(settings: Settings, _board: Switchboard, _options: Mapping[str, Any]) -> int:
    """Be the consumer until no message has come for a while."""
    directory = DataDirectory(settings.data_dir)
    directory.create()
    answered_at = time.monotonic() + QUIET_SECONDS
    answer = rabbitmq_storing.Group.answer

    def noted(group: rabbitmq_storing.Group, channel: Any) -> None:
        nonlocal answered_at
        answer(group, channel)
        answered_at = time.monotonic()

    rabbitmq_storing.Group.answer = noted  # type: ignore[method-assign] # tells when all is done
    RabbitMQIntake(settings, directory).run(lambda: time.monotonic() > answered_at + QUIET_SECONDS)
    return 0


ACTS: dict[str, Callable[[Settings, Switchboard, Mapping[str, Any]], int]] = {
    "run": run_until_idle,
    "some": run_some,
    "upkeep": run_upkeep,
    "rebuild": rebuild,
    "command": command,
    "web": take_requests,
    "consumer": consume,
}
