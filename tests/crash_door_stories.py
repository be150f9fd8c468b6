"""Stories of requests that come in by REST and RabbitMQ, and of results that are pushed."""

import json
from typing import Any

from crash_stories import CLASSIC, Step, World, command, lines_of, story


def _push_everywhere(world: World) -> None:
    from web_receiver import answers, first  # noqa: PLC0415 - imports nothing else needs

    assert world.receiver is not None
    assert world.broker is not None
    world.queues.append(world.broker.declare_queue(world.answers_queue, CLASSIC))
    world.receiver.set_behaviour(f"/{world.tag}/gone", answers(410))
    world.receiver.set_behaviour(f"/{world.tag}/results", first(2, answers(503)))
    gone = {"type": "webhook", "webhook_url": world.receiver.url(f"/{world.tag}/gone")}
    requests = [
        *world.chats("hook", 4, delivery_config=world.webhook),
        *world.chats("queue", 4, delivery_config=world.queue),
        *world.chats("dead", 2, delivery_config=gone),
        *world.chats("file", 2),
    ]
    world.drop("job.jsonl", requests)


def _receiver_well_again(world: World) -> None:
    assert world.receiver is not None
    from web_receiver import answers  # noqa: PLC0415 - see above

    world.receiver.set_behaviour(f"/{world.tag}/gone", answers(200))


def _web_requests(world: World) -> dict[str, Any]:
    single = [
        {
            "key": f"single-{number}",
            "path": "/api/requests",
            "content": json.dumps(world.chat(f"single-{number}", delivery_config=world.webhook)),
        }
        for number in range(4)
    ]
    bulk = lines_of(world.chats("bulk", 3)).decode() + "no json\n"
    file = lines_of(world.chats("file", 3)).decode()
    held = lines_of(world.chats("held", 3)).decode()
    octets = "application/octet-stream"
    return {
        "acknowledged": str(world.data.with_suffix(".acknowledged")),
        "requests": [
            *single,
            {"key": "again", "path": "/api/requests", "content": single[0]["content"]},
            {"key": "bulk", "path": "/api/requests/bulk?job=bulk", "content": bulk,
             "kind": "application/x-ndjson"},
            {"key": "file", "path": "/api/files?name=file.jsonl", "content": file, "kind": octets},
            {"key": "held", "path": '/api/files?name=held.jsonl&hold=true&job={{"label":"held"}}',
             "content": held, "kind": octets},
            {"key": "start", "path": "/api/held-files/{held}/start", "content": ""},
        ],
    }  # fmt: skip


def _queue_requests(world: World) -> None:
    assert world.broker is not None
    world.broker.declare_queue(world.requests_queue, CLASSIC)
    world.queues.append(world.broker.declare_queue(world.answers_queue, CLASSIC))
    requests = world.chats("good", 6, delivery_config=world.queue)
    bodies = [json.dumps(each).encode() for each in requests]
    world.broker.publish(world.requests_queue, *bodies[:4], b"no json", *bodies[4:])


DOORS = [
    story(
        "results are pushed, fail, and are pushed again",
        Step(prepare=_push_everywhere, codes=(0, 3, 4)),
        command("redeliver job", "job", prepare=_receiver_well_again),
        Step(codes=(0, 3, 4)),
    ),
    story(
        "requests come over REST",
        Step(act="web", options=_web_requests),
        Step(),
        settings={"seal_seconds": 0, "seal_bytes": 1_000},
    ),
    story(
        "requests come from RabbitMQ",
        Step(act="consumer", prepare=_queue_requests),
        Step(),
        settings={"seal_seconds": 0.1},
        refuses_once=False,
    ),
]
