"""Stories of what operators do, of copies put back, and of ledgers that are lost."""

import shutil

from crash_stories import Step, World, clear, command, faulty, story

_SENT = {"flows": ["ingest", "submit", "track"]}


def _stuck(world: World) -> None:
    world.simulator.set_scenarios("stuck:phase=in_progress", next_batches=1)
    world.drop("job.jsonl", world.chats("line", 6))


def _released(world: World) -> None:
    world.simulator.clear_scenarios()  # also for a batch that a kill has put off until now
    world.simulator.release()


def _copy_put_back(world: World) -> None:
    copy = min((world.data / "backups").glob("ledger-*.duckdb"))
    _lose_ledger(world)
    shutil.copyfile(copy, world.data / "ledger.duckdb")


def _copy_without_folders_put_back(world: World) -> None:
    shutil.rmtree(world.data / "batches")
    _copy_put_back(world)


def _lose_results(world: World) -> None:
    (results,) = (world.data / "results").glob("*.parquet")
    results.rename(results.with_name(f".{results.name}.tmp"))


def _lose_ledger(world: World) -> None:
    for path in world.data.glob("ledger.duckdb*"):
        path.unlink()


OPERATORS = [
    story(
        "a job is cancelled under way and tried again",
        Step(act="some", prepare=_stuck, options=lambda _: _SENT),
        command("cancel job", "job"),
        Step(prepare=_released, codes=(0, 3)),
        command("retry job", "job"),
        Step(),
    ),
    story(
        "a job is paused, cancelled before it is sent, and tried again",
        Step(
            act="some", options=lambda _: {"flows": ["ingest"]},
            prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6)),
        ),
        command("pause job", "job"),
        command("cancel job", "job"),
        command("resume job", "job"),
        Step(codes=(0, 3)),
        command("retry job", "job"),
        Step(),
    ),
    story(
        "a batch is cancelled before its create is answered",
        Step(
            act="some", options=lambda _: {"flows": ["ingest", "submit"]},
            prepare=faulty("failing_calls:call=files.create,times=0,status=503"),
        ),
        command("cancel batch", 1, prepare=clear),
        Step(codes=(0, 3)),
    ),
    story(
        "a failed batch is restarted",
        Step(prepare=faulty("failing_calls:call=batches.create,times=0,status=400"), codes=(3,)),
        command("restart batch", 1, prepare=clear),
        Step(),
        command("forget batch", 1),
        Step(),
    ),
    story(
        "operators hold everything and let it go",
        Step(
            act="some", options=lambda _: {"flows": ["ingest"]},
            prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6)),
        ),
        *(command(what) for what in ("pause lanes", "pause intake", "open intake")),
        command("set cap", "gpt-4o-mini"),
        command("reset cap", "gpt-4o-mini"),
        command("resume lanes"),
        command("flush", "job"),
        Step(),
    ),
    story(
        "a file of results is lost and written anew",
        Step(prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6))),
        command("repair", prepare=_lose_results),
        Step(),
    ),
    story(
        "an older copy of the ledger is put back",
        Step(
            act="some", options=lambda _: {"flows": ["ingest"]},
            prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6)),
        ),
        command("back up"),
        Step(prepare=lambda world: world.drop("later.jsonl", world.chats("later", 2))),
        Step(prepare=_copy_put_back),
    ),
    story(
        "an older copy is put back and the batches' folders are lost",
        Step(
            act="some", options=lambda _: {"flows": ["ingest"]},
            prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6)),
        ),
        command("back up"),
        Step(act="some", options=lambda _: {"flows": ["submit"]}),
        Step(prepare=_copy_without_folders_put_back),
    ),
    story(
        "the account is changed before anything was sent",
        Step(
            act="some", options=lambda _: {"flows": ["ingest"]},
            prepare=lambda world: world.drop("job.jsonl", world.chats("line", 6)),
        ),
        Step(settings={"account_name": "another"}),
    ),
    story(
        "the ledger is lost under way and rebuilt",
        Step(prepare=lambda world: world.drop("first.jsonl", world.chats("first", 3))),
        Step(act="some", prepare=_stuck, options=lambda _: _SENT),
        Step(act="rebuild", prepare=_lose_ledger),
        Step(prepare=_released),
    ),
]  # fmt: skip
