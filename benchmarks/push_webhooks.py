"""Results from the ledger to webhooks, beside the same client with messages in its hand."""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from batching.deliveries import Message
from batching.push_options import WebhookMode, WebhookOptions
from benchmarks.figures import Figure
from benchmarks.processes import in_a_fresh_process
from benchmarks.push_ledger import RESULT_BYTES, Pushed, Waiting, results_waiting

SINGLE = 20_000
FEW, MANY = 20_000, 100_000
RESULTS_A_POST = 100
BESIDE_SLOW = 40_000
SLOW_SECONDS = 5.0
SLOW_RESULTS = 40
"""At eight a time they take 25 s, which is longer than the fast ones take."""
RUNS = 3
_PAYLOAD = b'{"custom_id":"' + b"x" * (RESULT_BYTES - 16) + b'"}'

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from web_receiver import WebReceiver, delays  # noqa: E402 - the tests' own receiver, found now


def measure() -> list[Figure]:
    """Return how many results a second reach webhooks, one a POST and in batches."""
    return [*_single(), *_batches()]


def measure_beside_slow() -> list[Figure]:
    """Return which part of its rate a fast receiver keeps beside one that takes 5 s a POST."""
    with WebReceiver(light=True) as fast, WebReceiver(light=True) as slow:
        slow.set_behaviour("/", delays(SLOW_SECONDS))
        to_fast = Waiting(destination=_webhook(fast), results=BESIDE_SLOW)
        to_slow = Waiting(destination=_webhook(slow), results=SLOW_RESULTS)
        with results_waiting([to_fast]) as alone, results_waiting([to_fast, to_slow]) as beside:
            rates = [  # in turns: the machine's other load changes from minute to minute
                (_rate_of(fast, alone()), _rate_of(fast, _overlapping(slow, beside())))
                for _ in range(RUNS)
            ]
    floor, best = (max(pair[index] for pair in rates) for index in (0, 1))
    measure = (
        f"{BESIDE_SLOW:,} results to a fast webhook beside a slow one ({SLOW_SECONDS:g} s a POST)"
    )
    return [
        Figure(
            measure=measure, name="to the fast one", value=best, unit="results/s",
            more_is_better=True, floor=floor,
        ),
        Figure(
            measure=measure, name="part of its rate alone", unit="", target=0.9,
            value=statistics.median(beside / alone for alone, beside in rates), more_is_better=True,
        ),
    ]  # fmt: skip


def _single() -> list[Figure]:
    with WebReceiver(light=True) as receiver:
        waiting = [Waiting(destination=_webhook(receiver), results=SINGLE)]
        client = partial(_client_rate, receiver.url("/hook"), WebhookOptions(), SINGLE)
        with results_waiting(waiting) as push:
            found = [(in_a_fresh_process(client), push()) for _ in range(RUNS)]
    measure = f"webhook, {SINGLE:,} results of 1 KB, one a POST"
    return _figures(measure, found, expected=SINGLE, target=1_000)


def _batches() -> list[Figure]:
    options = WebhookOptions(mode=WebhookMode.BATCH, most_results=RESULTS_A_POST)
    with WebReceiver(light=True) as receiver:
        client = partial(_client_rate, receiver.url("/hook"), options, MANY)
        with _in_batches(receiver, FEW) as push_few, _in_batches(receiver, MANY) as push_many:
            few = push_few()
            found = [(in_a_fresh_process(client), push_many()) for _ in range(RUNS)]
    measure = f"webhook, {MANY:,} results of 1 KB, {RESULTS_A_POST} a POST"
    return [
        *_figures(measure, found, expected=MANY, target=30_000),
        Figure(
            measure=measure, name="peak memory of the process", unit="MB",
            value=min(pushed.spent.peak_megabytes for _, pushed in found),
            floor=min(pushed.megabytes_before for _, pushed in found),
        ),
        Figure(
            measure=measure, name=f"the same with {FEW:,} results", unit="MB",
            value=few.spent.peak_megabytes, floor=few.megabytes_before,
        ),
    ]  # fmt: skip


def _in_batches(
    receiver: WebReceiver, results: int
) -> AbstractContextManager[Callable[[], Pushed]]:
    definition = f'[crm]\ntype = "webhook"\nurl = "{receiver.url("/hook")}"\nmode = "batch"\n'
    waiting = Waiting(destination='{"type":"named","name":"crm"}', results=results)
    return results_waiting([waiting], named=definition)


def _figures(
    measure: str, found: list[tuple[float, Pushed]], *, expected: int, target: float
) -> list[Figure]:
    if any(pushed.delivered != expected for _, pushed in found):
        raise RuntimeError("not every result was delivered")
    return [
        Figure(
            measure=measure, name="from the ledger, sent and recorded", unit="results/s",
            value=max(pushed.rate for _, pushed in found), target=target, more_is_better=True,
            floor=max(client for client, _ in found),
        ),
        Figure(
            measure=measure, name="CPU of the process", unit="µs/result",
            value=min(pushed.microseconds_each for _, pushed in found),
        ),
    ]  # fmt: skip


def _webhook(receiver: WebReceiver) -> str:
    return json.dumps({"type": "webhook", "webhook_url": receiver.url("/hook")})


def _overlapping(slow: WebReceiver, pushed: Pushed) -> Pushed:
    if pushed.seconds_to[_target(slow)] < max(pushed.seconds_to.values()):
        raise RuntimeError("the slow receiver was done before the fast one: give it more results")
    return pushed


def _rate_of(receiver: WebReceiver, pushed: Pushed) -> float:
    return BESIDE_SLOW / pushed.seconds_to[_target(receiver)]


def _target(receiver: WebReceiver) -> str:
    return f"webhook:http://127.0.0.1:{receiver.port}"


def _client_rate(url: str, options: WebhookOptions, results: int) -> float:
    """Return the results a second of the client alone: no ledger, no files, no records."""
    return asyncio.run(_send_all(url, options, results))


async def _send_all(url: str, options: WebhookOptions, results: int) -> float:
    from clients.addresses import AddressGuard  # noqa: PLC0415 - imports httpx
    from clients.webhooks import WebhookSender  # noqa: PLC0415 - imports httpx

    sender = WebhookSender(options, guard=AddressGuard("127.0.0.0/8"))
    is_batch = options.mode is WebhookMode.BATCH
    starts = iter(range(0, results, RESULTS_A_POST if is_batch else 1))

    async def send_some() -> None:
        for start in starts:
            if is_batch:
                messages = [_message(start + number) for number in range(RESULTS_A_POST)]
                replies = await sender.send_batch(url, messages)
            else:
                replies = [await sender.send(url, _message(start))]
            if not all(reply.is_success for reply in replies):
                raise RuntimeError(f"not every result was taken: {replies[0]}")

    began = time.perf_counter()
    await asyncio.gather(*(send_some() for _ in range(options.concurrency)))
    seconds = time.perf_counter() - began
    await sender.aclose()
    return results / seconds


def _message(number: int) -> Message:
    name = f"{number:08}"
    return Message(
        delivery_id=number, key=f"obm-{name}-{name}", request_id=name, custom_id=f"row-{name}",
        payload=_PAYLOAD,
    )  # fmt: skip
