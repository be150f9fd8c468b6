"""Pushing to one target: what is due is loaded ahead, so many calls are under way."""

import asyncio
import logging
import random
from collections.abc import Sequence

import polars as pl

from batching.breaker import Breaker
from batching.deliveries import Outcome, Reply
from batching.delivery_retry import BROKER_TROUBLE, decide, is_final
from batching.destinations import parse_destination
from batching.lifecycle import DeliveryState
from storage.ledger import now
from tasks.push_channels import Channel, Errand
from tasks.push_loading import Pages, Window
from tasks.push_opening import NoWay, open_channel
from tasks.push_pace import Pace
from tasks.push_recording import Recorder
from tasks.resources import resources

logger = logging.getLogger(__name__)

ROWS_A_PAGE = 10_000
LOADS_AHEAD = 4_000_000
"""Bytes of messages that wait to be sent."""

_BLAMELESS = frozenset({Outcome.GONE, Outcome.NOT_ACCEPTED})
"""Failures that say nothing about the next result, unless nothing of a whole POST was taken."""

Load = list[Errand]


class TargetWorker:
    """Sends what is due for one target until nothing is, or until the target is left alone."""

    def __init__(self, target: str, breaker: Breaker, recorder: Recorder, pages: Pages) -> None:
        self._target = target
        self._breaker = breaker
        self._recorder = recorder
        self._pages = pages
        self._is_more_due = True
        self._taken = recorder.taken.setdefault(target, set())
        self._loads: asyncio.Queue[tuple[Load, int] | None] = asyncio.Queue()
        """What waits to be sent, each load with its bytes; None ends a lane."""
        self._waiting_bytes = 0
        self._has_room = asyncio.Event()
        self._window = Window()
        self._is_closing = False
        self._channel: Channel
        self._url = ""

    def close(self) -> None:
        """Take nothing new; what is under way goes on."""
        self._is_closing = True
        self._has_room.set()

    async def run(self) -> None:
        """Push; ends when nothing is due or the target is to be left alone."""
        first = await self._page(1 if self._breaker.needs_probe else ROWS_A_PAGE)
        if first.is_empty():
            return
        try:
            destination = parse_destination(first["config"][0])
            self._channel, self._url = open_channel(destination, resources())
        except NoWay as error:
            self._recorder.release(self._target, first["delivery_id"])
            self._trouble(error.outcome, str(error))
            await self._recorder.write()
            return
        try:
            await self._push(first)
        finally:
            self._drop_waiting()
            await self._channel.close()
        await self._recorder.write()

    async def _push(self, first: pl.DataFrame) -> None:
        self._pace = Pace(self._channel.concurrency, self._channel.rate_per_second)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed(first))
            for number in range(self._channel.concurrency):
                group.create_task(self._lane(number))

    async def _feed(self, page: pl.DataFrame) -> None:
        while not page.is_empty():
            page = await self._joined_by_late_ones(page)
            await self._feed_page(page)
            if self._breaker.needs_probe:
                await self._loads.join()
            if self._must_end() or not self._is_more_due:
                break  # what has become due meanwhile is seen at the next look
            page = await self._page(ROWS_A_PAGE)
        for _ in range(self._channel.concurrency):
            self._loads.put_nowait(None)

    async def _joined_by_late_ones(self, page: pl.DataFrame) -> pl.DataFrame:
        """Wait a moment for a POST to fill, if the results have just come."""
        seconds = self._channel.fill_seconds
        if not seconds or page.height >= self._channel.load_size or self._breaker.needs_probe:
            return page
        age = now().replace(tzinfo=None) - page["created_at"].to_list()[0]
        if age.total_seconds() >= seconds:
            return page
        await asyncio.sleep(seconds - max(0.0, age.total_seconds()))
        return pl.concat([page, await self._page(ROWS_A_PAGE)])

    async def _feed_page(self, page: pl.DataFrame) -> None:
        first = 0
        while first < page.height:
            if self._must_end():
                self._recorder.release(self._target, page["delivery_id"][first:])
                return
            rows = page.slice(first, self._window.size)
            first += rows.height
            errands, problem = await asyncio.to_thread(self._window.read, rows, self._url)
            if len(errands) < rows.height:
                self._record_unreadable(rows, errands, problem)
            for load in _loads(errands, self._channel.load_size):
                byte_count = sum(len(errand.message.payload) for errand in load)
                self._waiting_bytes += byte_count
                self._loads.put_nowait((load, byte_count))
            await self._room()

    async def _room(self) -> None:
        while self._waiting_bytes > LOADS_AHEAD and not self._must_end():
            self._has_room.clear()
            await self._has_room.wait()

    async def _lane(self, number: int) -> None:
        while True:
            await self._pace.room(number)
            waiting = await self._loads.get()
            if waiting is None:
                self._pace.end()
                return
            load, byte_count = waiting
            self._waiting_bytes -= byte_count
            self._has_room.set()
            await self._pace.turn()
            await self._recorder.room()
            if self._must_end():
                self._release(load)
            else:
                await self._send(load)
            self._loads.task_done()

    async def _send(self, load: Load) -> None:
        replies = await self._channel.send(load)
        answered = list(zip(load, replies, strict=True))
        self._settle_taken([each for each in answered if each[1].is_success])
        takes_nothing = all(reply.outcome is Outcome.NOT_ACCEPTED for reply in replies)
        for errand, reply in answered:
            if not reply.is_success:
                self._settle(errand, reply, takes_nothing=takes_nothing)
        self._pace.answered([reply.outcome for reply in replies])
        self._recorder.note_health(self._target, self._breaker.health)

    def _settle_taken(self, answered: Sequence[tuple[Errand, Reply]]) -> None:
        """Settle what has arrived, all at once: nearly everything does."""
        if not answered:
            return
        at = now()
        self._breaker.succeeded(at, times=len(answered))
        moment, delivered = at.replace(tzinfo=None), DeliveryState.DELIVERED.value
        self._recorder.add(
            self._target,
            [
                (
                    errand.message.delivery_id, moment, reply.outcome.value, reply.status_code,
                    round(reply.duration_seconds * 1_000), reply.excerpt, delivered, None,
                )
                for errand, reply in answered
            ],
        )  # fmt: skip

    def _settle(self, errand: Errand, reply: Reply, *, takes_nothing: bool) -> None:
        if self._channel.is_broker and reply.outcome in BROKER_TROUBLE:
            self._recorder.release(self._target, [errand.message.delivery_id])
            self._trouble(reply.outcome, reply.excerpt or reply.outcome.value)
            return
        self._judge(errand, reply, takes_nothing=takes_nothing)
        self._record(errand.message.delivery_id, errand.attempts + 1, reply)

    def _record(self, delivery_id: int, attempts: int, reply: Reply) -> None:
        """Hand over one attempt that failed, with what follows from it."""
        at = now()
        decision = decide(
            reply.outcome,
            attempts=attempts,
            at=at,
            chance=_chance(),
            retry_after_seconds=reply.retry_after_seconds,
            final_statuses=self._channel.final_statuses,
            status=reply.status_code,
        )
        moment = decision.next_attempt_at
        row = (
            delivery_id, at.replace(tzinfo=None), reply.outcome.value,
            reply.status_code, round(reply.duration_seconds * 1_000), reply.excerpt,
            decision.state.value, moment.replace(tzinfo=None) if moment else None,
        )  # fmt: skip
        self._recorder.add(self._target, [row])

    def _judge(self, errand: Errand, reply: Reply, *, takes_nothing: bool) -> None:
        """Let the breaker know of a failure; it decides about the target as a whole."""
        at = now()
        if reply.outcome is Outcome.GONE:
            said = f" {reply.excerpt}" if reply.excerpt else ""
            self._recorder.note_gone(errand.destination_id, f"the receiver answered 410.{said}")
        final = is_final(reply.outcome, reply.status_code, self._channel.final_statuses)
        if final or (reply.outcome in _BLAMELESS and not takes_nothing):
            self._breaker.answered(at)
        else:
            self._breaker.failed(reply.outcome.value, reply.excerpt, at=at, chance=_chance())
        if reply.retry_after_seconds:
            self._breaker.leave_alone(reply.retry_after_seconds, at=at)

    def _trouble(self, outcome: Outcome, problem: str) -> None:
        at = now()
        if not self._breaker.is_open(at):
            logger.warning("target left alone", extra={"target": self._target, "problem": problem})
        self._breaker.trouble(outcome.value, problem, at=at, chance=_chance())
        self._recorder.note_health(self._target, self._breaker.health)

    def _record_unreadable(self, rows: pl.DataFrame, errands: Load, problem: str | None) -> None:
        read = {errand.message.delivery_id for errand in errands}
        said = problem or "the result is not in its file"
        unread = Reply(outcome=Outcome.OTHER, duration_seconds=0.0, excerpt=said)
        for delivery_id, attempts in rows.select("delivery_id", "attempts").iter_rows():
            if delivery_id not in read:
                self._record(delivery_id, attempts + 1, unread)

    async def _page(self, most: int) -> pl.DataFrame:
        page = await self._pages.page(self._target, most=most, under_way=list(self._taken))
        self._is_more_due = page.height >= most
        self._taken.update(page["delivery_id"])
        return page

    def _must_end(self) -> bool:
        return self._is_closing or self._recorder.is_failing or self._breaker.is_open(now())

    def _release(self, load: Load) -> None:
        self._recorder.release(self._target, [errand.message.delivery_id for errand in load])

    def _drop_waiting(self) -> None:
        while not self._loads.empty():
            waiting = self._loads.get_nowait()
            if waiting is not None:
                self._release(waiting[0])


def _loads(errands: Sequence[Errand], size: int) -> list[Load]:
    return [list(errands[first : first + size]) for first in range(0, len(errands), size)]


def _chance() -> float:
    return random.random()  # noqa: S311 - spreads retries, guards nothing
