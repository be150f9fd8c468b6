"""Stories that make every flow and every rare path happen; a process may die anywhere in them.

A step prepares something from the outside, once, and lets a process act, again after a kill.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker import Broker
    from web_receiver import WebReceiver

    from simulator.process import SimulatorProcess

CHAT = "/v1/chat/completions"
CLASSIC = {"x-queue-type": "classic"}
"""Quick to declare; what a crash of the broker does is proven elsewhere."""
Settings = Mapping[str, Any]


@dataclass(kw_only=True)
class World:
    """What a run of a story works on: a data directory and an account of its own."""

    data: Path
    tag: str
    """Makes bodies, keys and queues those of this run."""
    simulator: "SimulatorProcess"
    receiver: "WebReceiver | None" = None
    broker: "Broker | None" = None
    queues: list[str] = field(default_factory=list)
    """Queues of the broker into which results go."""

    def chat(self, custom_id: str, *, model: str = "gpt-4o-mini", **more: Any) -> dict[str, Any]:
        message = {"role": "user", "content": f"{custom_id} of {self.tag}"}
        body = {"model": model, "messages": [message]}
        return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | more

    def chats(self, prefix: str, count: int, **more: Any) -> list[dict[str, Any]]:
        return [self.chat(f"{prefix}-{number}", **more) for number in range(count)]

    def drop(self, name: str, requests: list[dict[str, Any]], **side_file: object) -> None:
        self.drop_bytes(name, lines_of(requests), **side_file)

    def drop_bytes(self, name: str, content: bytes, **side_file: object) -> None:
        inbox = self.data / "staging" / "inbox"
        inbox.mkdir(parents=True, exist_ok=True)
        if side_file:
            (inbox / f"{name.partition('.')[0]}.job.json").write_text(json.dumps(side_file))
        (inbox / f"{name}.part").write_bytes(content)
        (inbox / f"{name}.part").rename(inbox / name)

    @property
    def webhook(self) -> dict[str, str]:
        assert self.receiver is not None
        return {"type": "webhook", "webhook_url": self.receiver.url(f"/{self.tag}/results")}

    @property
    def answers_queue(self) -> str:
        return f"{self.tag}.answers"

    @property
    def requests_queue(self) -> str:
        return f"{self.tag}.requests"

    @property
    def queue(self) -> dict[str, str]:
        return {"type": "rabbitmq", "rabbitmq_queue": self.answers_queue}


def lines_of(requests: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def nothing(_world: World) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One act, what comes before it, and how it ends when nothing disturbs it."""

    act: str = "run"
    prepare: Callable[[World], None] = nothing
    options: Callable[[World], dict[str, Any]] = lambda _: {}
    settings: Settings = field(default_factory=dict)
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Steps, and what is in order at their end."""

    name: str
    steps: tuple[Step, ...]
    settings: Settings = field(default_factory=dict)
    same_batches: bool = True
    """Whether a kill leaves the number of batches as it is."""
    refuses_once: bool = True
    """A refused message that was kept and not yet rejected is brought and kept once more."""


def faulty(
    *scenarios: str, batches: int | None = None, requests: int = 6
) -> Callable[[World], None]:
    """Put scenarios in force and drop some requests."""

    def prepare(world: World) -> None:
        world.simulator.set_scenarios(*scenarios, next_batches=batches)
        world.drop("job.jsonl", world.chats("line", requests))

    return prepare


def command(what: str, of: object = None, prepare: Callable[[World], None] = nothing) -> Step:
    return Step(act="command", options=lambda _: {"what": what, "of": of}, prepare=prepare)


def story(name: str, *steps: Step, **more: Any) -> Story:
    return Story(name=name, steps=steps, **more)


# Files ------------------------------------------------------------------------------------


def _all_kinds(world: World) -> None:
    mixed = [
        *world.chats("one", 3),
        world.chat("one-1"),
        world.chat("one-2", model="gpt-4o"),
        *world.chats("two", 2, model="gpt-4.1"),
    ]
    world.drop_bytes("mixed.jsonl", lines_of(mixed) + b"no json\n{}\n", label="mixed")
    world.drop_bytes("packed.jsonl.gz", gzip.compress(lines_of(world.chats("packed", 3))))
    world.drop_bytes("broken.jsonl", lines_of(world.chats("never", 2)), label=5)


def _one_file(world: World) -> None:
    world.drop("plain.jsonl", world.chats("plain", 3))


def _copied_and_grown(world: World) -> None:
    (archived,) = (world.data / "staging" / "archive").glob("*__plain.jsonl")
    world.drop_bytes("copy.jsonl", archived.read_bytes())
    with archived.open("ab") as file:
        file.write(lines_of(world.chats("grown", 2)))


FILES = [
    story("one file", Step(prepare=_one_file)),
    story(
        "files of all kinds in several batches",
        Step(prepare=_all_kinds, codes=(3,)),
        settings={"batch_max_requests": 3},
    ),
    story(
        "lines fail for good and for a while",
        Step(
            prepare=faulty(
                "error_lines:containing=line-1,status=400",
                "error_lines:containing=line-2,status=500,attempts=1",
            ),
            codes=(3,),
        ),
    ),
    story(
        "a file comes again, and grows",
        Step(act="some", options=lambda _: {"flows": ["ingest"]}, prepare=_one_file),
        Step(prepare=_copied_and_grown),
    ),
    story(
        "upkeep cleans up and forgets",
        Step(prepare=_one_file),
        Step(act="upkeep"),
        Step(
            act="upkeep",
            settings={
                "keep_requests_days": 1e-9, "keep_archive_days": 1e-9, "keep_audit_days": 1e-9,
                "keep_batches_days": 1e-9, "keep_backups": 1,
            },
        ),
        Step(prepare=lambda world: world.drop("last.jsonl", world.chats("last", 2))),
    ),
]  # fmt: skip


# The provider's troubles ------------------------------------------------------------------


def _refused_line(world: World) -> None:
    bad = world.chat("bad")
    bad["body"]["messages"][0]["content"] = 5
    world.drop("job.jsonl", [*world.chats("line", 5), bad])


def _without_credit(world: World) -> None:
    world.simulator.set_scenarios(
        "error_lines:share=1,status=429,code=insufficient_quota", next_batches=1
    )
    world.drop("job.jsonl", world.chats("line", 6))


def _too_long(world: World) -> None:
    long = world.chat("long")
    long["body"]["messages"][0]["content"] += " word" * 400
    world.drop("job.jsonl", [long, *world.chats("line", 3)])


def _vanishing(world: World) -> None:
    scenarios = ("vanished:polls=0,listed=no", "expires:at=0")  # nothing of it ran or was paid
    world.simulator.set_scenarios(*scenarios, next_batches=1)
    world.drop("second.jsonl", world.chats("second", 3))


def clear(world: World) -> None:
    """Let the provider make no more trouble."""
    world.simulator.clear_scenarios()


TROUBLES = [
    story(
        "a batch expires half-way",
        Step(prepare=faulty("expires:at=0.5", "unlisted_rest", batches=1)),
    ),
    story("the token limit refuses twice", Step(prepare=faulty("token_limit:times=2"))),
    story(
        "the queue holds less than a batch",
        Step(prepare=faulty("hidden_limit:tokens=150", requests=40)),
        same_batches=False,  # what is learned of the limit depends on when it is asked
    ),
    story(
        "the create is answered too late",
        Step(prepare=faulty("slow_create:times=1,seconds=1,batch=exists")),
    ),
    story(
        "the create is answered too late and made nothing",
        Step(prepare=faulty("slow_create:times=1,seconds=1,batch=never")),
    ),
    story(
        "the create's connection ends and nothing was made",
        Step(prepare=faulty("dropped_create:times=1,batch=never")),
    ),
    story(
        "a file is not found by the batch",
        Step(prepare=faulty("cannot_find_file:times=1,as=failed")),
    ),
    story(
        "a file stays unknown and is uploaded again",
        Step(prepare=faulty("cannot_find_file:seconds=1")),
        settings={"file_not_found_seconds": 0.3},
    ),
    story(
        "downloads are cut and missing",
        Step(prepare=faulty("cut_downloads:times=1,at=0.5,as=short", "missing_downloads:times=1")),
    ),
    story(
        "the output file stays away",
        Step(prepare=faulty("missing_downloads:times=0,file=output"), codes=(3,)),
        settings={"results_grace_seconds": 0.5},
    ),
    story("a line is refused", Step(prepare=_refused_line, codes=(3,))),
    story(
        "the account has no credit for a while",
        Step(prepare=_without_credit, codes=(2,)),
        Step(),
        same_batches=False,  # how soon the account is known to be in trouble, and is probed
    ),
    story(
        "the key is refused for a while",
        Step(prepare=faulty("failing_calls:call=batches.retrieve,times=0,status=401"), codes=(2,)),
        Step(prepare=clear),
    ),
    story(
        "a request is larger than the limit",
        Step(prepare=_too_long, codes=(3,), settings={"token_limits": "gpt-4o-mini=200"}),
    ),
    story(
        "uploads are refused for good",
        Step(prepare=faulty("failing_calls:call=files.create,times=0,status=400"), codes=(3,)),
    ),
    story(
        "creates are refused for good",
        Step(prepare=faulty("failing_calls:call=batches.create,times=0,status=400"), codes=(3,)),
    ),
    story(
        "uploads and creates are throttled",
        Step(
            prepare=faulty(
                "failing_calls:call=files.create,times=3,status=503",
                "failing_calls:call=batches.create,times=1,status=429,code=rate_limit_exceeded",
            )
        ),
    ),
    story(
        "a batch is lost and bought again",
        Step(prepare=lambda world: world.drop("first.jsonl", world.chats("first", 3))),
        Step(prepare=_vanishing),
        settings={"lost_batch_seconds": 0.3},
    ),
    story(
        "somebody cancels the batch outside",
        Step(prepare=faulty("cancelled_outside:at=0.5"), codes=(3,)),
    ),
]
