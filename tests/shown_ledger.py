"""A data directory that looks like two weeks of work, for pictures and for walking every page."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from factories import Store, failure_line, not_run_line

from batching.jobs import JobSettings
from batching.lifecycle import BatchState
from storage.batches import Batch

DAYS: Final = 14
HOOK: Final = "https://crm.example.com/answers"
BROKEN_HOOK: Final = "https://old.example.com/in"
_JOBS: Final = ("support-tickets", "product-search", "nightly-evaluation", "reviews")
_MODELS: Final = ("gpt-4o-mini", "gpt-4.1-mini", "o4-mini")
_QUESTIONS: Final = (
    "Which department answers this: {n} parcels arrived wet?",
    "Summarise review {n} in one sentence.",
    "Is ticket {n} angry, calm or neutral?",
)
_ANSWERS: Final = ("Logistics.", "The lamp is bright but hums.", "Calm; it asks for an invoice.")


def fill_for_show(store: Store) -> Store:
    """Fill the store: collected batches of two weeks, two open ones, one failed, some waiting."""
    chance = random.Random(7)  # noqa: S311 - the same pictures each time
    today = datetime.now(UTC).replace(tzinfo=None)
    for day in range(DAYS, 0, -1):
        _one_day(store, day, today - timedelta(days=day, hours=-3), chance)
    _results_to_push(store, today)
    _in_between(store)
    store.take_in(_lines(90, "waiting", "gpt-4o-mini", chance), name="reviews-tomorrow",
                  source_id="w1")  # fmt: skip
    store.run(
        "UPDATE lanes SET wait_reason = 'capacity', waiting_since = now()::TIMESTAMP "
        "- INTERVAL 40 MINUTE, learned_limit = 2000000, wait_detail = 'no room for its tokens'"
        " WHERE model = 'o4-mini'"
    )
    return store


def _one_day(store: Store, day: int, begin: datetime, chance: random.Random) -> None:
    job, model = _JOBS[day % len(_JOBS)], _MODELS[day % len(_MODELS)]
    count = 80 + chance.randrange(60)
    store.take_in(
        _lines(count, f"{job}-{day}", model, chance), name=f"{job}-{begin:%m-%d}",
        source_id=f"d{day}", accepted_at=begin.replace(tzinfo=UTC),
    )  # fmt: skip
    batch = store.ended()
    _answer(store, batch, chance)
    store.deliver()
    _move_back(store, batch, begin, hours=2 + chance.random() * 9)


def _lines(count: int, prefix: str, model: str, chance: random.Random) -> list[bytes]:
    return [
        json.dumps(
            {
                "custom_id": f"{prefix}-{number:04}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": model,
                    "messages": [
                        {"role": "user", "content": chance.choice(_QUESTIONS).format(n=number)}
                    ],
                    "max_tokens": 200,
                },
            }
        ).encode()
        for number in range(1, count + 1)
    ]


def _answer(store: Store, batch: Batch, chance: random.Random) -> None:
    output, error = [], []
    for wire_id in store.wire_ids(batch):
        die = chance.random()
        if die < 0.02:
            error.append(failure_line(wire_id, code="context_length_exceeded"))
        elif die < 0.03:
            error.append(failure_line(wire_id, code="content_policy_violation"))
        else:
            output.append(_success(wire_id, batch.model, chance))
    store.collect(batch, output, error)


def _success(wire_id: str, model: str, chance: random.Random) -> bytes:
    asked, said = 300 + chance.randrange(900), 40 + chance.randrange(200)
    body = {
        "id": f"chatcmpl-{wire_id}", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": chance.choice(_ANSWERS)}}],
        "usage": {"prompt_tokens": asked, "completion_tokens": said,
                  "total_tokens": asked + said,
                  "prompt_tokens_details": {"cached_tokens": asked // 4}},
    }  # fmt: skip
    response = {"status_code": 200, "request_id": f"req-{wire_id}", "body": body}
    line = {"id": f"batch_req_{wire_id}", "custom_id": wire_id, "response": response, "error": None}
    return json.dumps(line).encode()


def _move_back(store: Store, batch: Batch, begin: datetime, *, hours: float) -> None:
    """Let everything about a batch have happened on its own day."""
    end = begin + timedelta(hours=hours)
    number = batch.batch_id
    store.run(
        "UPDATE batches SET planned_at = $2, uploaded_at = $2 + INTERVAL 1 MINUTE, submitted_at = "
        "$2 + INTERVAL 2 MINUTE, in_progress_at = $2 + INTERVAL 9 MINUTE, ended_at = $3, "
        "finished_at = $3 + INTERVAL 1 MINUTE, cost_usd = (input_tokens * 0.075 + output_tokens "
        "* 0.3) / 1e6, provider_total = requests, provider_completed = requests "
        "WHERE batch_id = $1",
        number, begin + timedelta(hours=1), end,
    )  # fmt: skip
    store.run("UPDATE requests SET finished_at = $2 WHERE batch_id = $1", number, end)
    store.run("UPDATE results SET recorded_at = $2 WHERE batch_id = $1", number, end)
    store.run(
        "UPDATE parts SET created_at = $2, delivered_at = $2 + INTERVAL 1 MINUTE "
        "WHERE result_id IN (SELECT result_id FROM results WHERE batch_id = $1)",
        number, end,
    )  # fmt: skip
    _spread_transitions(store, "batch", str(number), begin + timedelta(hours=1), end)


def _spread_transitions(
    store: Store, entity: str, number: str, begin: datetime, end: datetime
) -> None:
    times = [
        begin, begin + timedelta(minutes=1), begin + timedelta(minutes=2),
        begin + timedelta(minutes=3), end, end + timedelta(minutes=1),
    ]  # fmt: skip
    store.run(
        "UPDATE transitions SET happened_at = list_extract($3::TIMESTAMP[], list_position("
        "['planned', 'uploaded', 'submitting', 'submitted', 'ended', 'collected'], target)) "
        "WHERE entity = $1 AND entity_id = $2",
        entity, number, times,
    )  # fmt: skip


def _results_to_push(store: Store, today: datetime) -> None:
    """Results for two receivers: one takes them, one has given up long ago."""
    for number, (hook, wanted) in enumerate(((HOOK, 40), (BROKEN_HOOK, 25))):
        settings = JobSettings.model_validate(
            {"delivery_config": {"type": "webhook", "webhook_url": hook}}, strict=False
        )
        store.take_in(
            _lines(wanted, f"crm-{number}", "gpt-4o-mini", random.Random(number)),  # noqa: S311 - as above
            name=f"crm-{number}", source_id=f"p{number}", settings=settings,
            accepted_at=(today - timedelta(hours=9)).replace(tzinfo=UTC),
        )  # fmt: skip
        _answer(store, store.ended(), random.Random(number))  # noqa: S311 - as above
    _push_as_if(store, HOOK, state="delivered", outcome="success", status=200, tries=1)
    _push_as_if(store, BROKEN_HOOK, state="exhausted", outcome="server_error", status=503, tries=3)
    _targets(store)


def _targets(store: Store) -> None:
    store.run(
        "UPDATE targets SET last_outcome = 'success', last_success_at = now()::TIMESTAMP "
        "- INTERVAL 2 HOUR WHERE contains(target, 'crm.')"
    )
    store.run(
        "UPDATE targets SET last_outcome = 'server_error', failing_since = now()::TIMESTAMP "
        "- INTERVAL 6 HOUR, openings = 4, open_until = now()::TIMESTAMP + INTERVAL 20 MINUTE, "
        "problem = 'it answered 503: upstream is away' WHERE contains(target, 'old.')"
    )


def _push_as_if(store: Store, hook: str, **said: Any) -> None:
    chosen = (
        "destination_id IN (SELECT destination_id FROM destinations "
        f"WHERE contains(config, '{hook}'))"
    )
    store.run(
        f"UPDATE deliveries SET state = ?, outcome = ?, attempts = ?, problem = ?, "
        f"finished_at = now()::TIMESTAMP - INTERVAL 2 HOUR WHERE {chosen}",
        said["state"], said["outcome"], said["tries"],
        None if said["status"] == 200 else "it answered 503: upstream is away",
    )  # fmt: skip
    store.run(
        "INSERT INTO attempts SELECT delivery_id, tries.number, now()::TIMESTAMP - INTERVAL 8 HOUR "
        "+ tries.number * INTERVAL 2 HOUR, ?, ?, 20 + (delivery_id * 37 % 180), ? "
        f"FROM deliveries, range(1, ?) AS tries(number) WHERE {chosen}",
        said["outcome"], said["status"],
        None if said["status"] == 200 else "upstream is away", said["tries"] + 1,
    )  # fmt: skip


def _in_between(store: Store) -> None:
    """One batch at the provider, one that waits for room, one that was refused, one expired."""
    chance = random.Random(11)  # noqa: S311 - as above
    store.take_in(_lines(120, "run", "gpt-4.1-mini", chance), name="product-search", source_id="o1")
    running = store.bring_to(store.claim(), BatchState.SUBMITTED)
    store.run(
        "UPDATE batches SET provider_status = 'in_progress', provider_total = 120, "
        "provider_completed = 74, provider_failed = 1, in_progress_at = submitted_at, "
        "next_poll_at = now()::TIMESTAMP + INTERVAL 4 MINUTE, last_polled_at = now()::TIMESTAMP "
        "WHERE batch_id = ?",
        running.batch_id,
    )
    store.take_in(_lines(60, "late", "o4-mini", chance), name="evaluation-late", source_id="o2")
    late = store.ended(status="expired")
    wires = store.wire_ids(late)
    store.collect(
        late,
        [_success(wire, "o4-mini", chance) for wire in wires[:41]],
        [not_run_line(wire) for wire in wires[41:]],
    )
    store.deliver()
    waiting = store.bring_to(store.claim(), BatchState.UPLOADED)
    store.run(
        "UPDATE batches SET token_refusals = 2, not_before = now()::TIMESTAMP + INTERVAL 11 MINUTE "
        "WHERE batch_id = ?",
        waiting.batch_id,
    )
