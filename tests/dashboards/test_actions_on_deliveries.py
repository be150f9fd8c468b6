"""What operators do to deliveries of a system at work: destinations, groups, single letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running_system import CRM, CRM_TARGET, TO_CRM, chats
from web_receiver import answers

from storage.ledger import now

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from playwright.sync_api import Locator
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAUSED = "SELECT count(*) FROM targets WHERE paused_at IS NOT NULL"


def dead_letters(system: System, job: str, count: int) -> list[int]:
    """Let so many results be given up, and from then on accepted; return their deliveries."""
    system.refuse_at_crm()
    system.send(job, chats(job, count), to=TO_CRM, at_once=True)
    system.until_deliveries(job, exhausted=count)
    system.accept_at_crm()
    rows = system.rows(
        "SELECT delivery_id FROM deliveries JOIN jobs USING (job_id) WHERE name = ? "
        "ORDER BY delivery_id", job,
    )  # fmt: skip
    return [row["delivery_id"] for row in rows]


def state_of(system: System, delivery: int) -> str:
    return str(system.value("SELECT state FROM deliveries WHERE delivery_id = ?", delivery))


def group(walk: Walk) -> Locator:
    return walk.page.locator(".letters > li").filter(has_text=CRM)


def result_for(system: System, job: str) -> None:
    """Let a job have a result for the customer relations."""
    system.send(job, chats(job, 1), to=TO_CRM, at_once=True)
    system.until_states(job, succeeded=1)


def test_single_dead_letters_are_redelivered_or_discarded_and_the_rest_by_their_group(
    system: System, walk: Walk
) -> None:
    first, second, third, *rest = dead_letters(system, "letters", 5)
    walk.open("/ui/deliveries?outcome=exhausted&q=letters")
    walk.press("Redeliver", walk.row(first))
    walk.answer("Redeliver", "Redeliver 1 result?")
    walk.hears("1 result on the way again.")
    system.until(lambda: state_of(system, first) == "delivered")
    assert len(system.keys_at_receiver("/crm")) == 1

    bar = walk.tick(second, third)
    walk.press("Discard", bar)
    walk.answer("Discard 2 results", "Discard 2 results?", count="2")
    walk.hears("2 results discarded.")
    assert [state_of(system, one) for one in (second, third)] == ["cancelled", "cancelled"]
    assert len(system.deeds("delivery", "discarded")) == 1

    walk.open("/ui/deliveries")
    walk.press("Redeliver", group(walk))
    walk.answer("Redeliver", "Redeliver 2 results?")
    walk.hears("2 results on the way again")
    system.until_deliveries("letters", delivered=3, cancelled=2)
    assert len(set(system.keys_at_receiver("/crm"))) == 1 + len(rest)


def test_a_group_is_discarded_and_what_came_since_a_time_redelivered(
    system: System, walk: Walk
) -> None:
    dead_letters(system, "lost", 2)
    walk.open("/ui/deliveries")
    walk.press("Discard", group(walk))
    walk.answer("Discard 2 results", "Discard 2 results?", count="2")
    walk.hears("2 results discarded")
    assert system.deliveries("lost") == {"cancelled": 2}

    since = f"{now():%Y-%m-%dT%H:%M}"
    dead_letters(system, "late", 2)
    arrived = len(system.keys_at_receiver("/crm"))
    walk.press("Redeliver since…")
    walk.answer("Redeliver", "Redeliver since a time", since=since)
    walk.hears("2 results on the way again")
    system.until_deliveries("late", delivered=2)
    assert system.deliveries("lost") == {"cancelled": 2}
    assert len(system.keys_at_receiver("/crm")) == arrived + 2


def test_a_paused_destination_gets_nothing_until_it_is_resumed(system: System, walk: Walk) -> None:
    system.accept_at_crm()
    result_for(system, "known")
    system.until_deliveries("known", delivered=1)
    for one, all_of_them in ((walk.row(CRM_TARGET), False), (walk.head, True)):
        arrived, job = len(system.keys_at_receiver("/crm")), f"paused-{all_of_them}"
        walk.open("/ui/deliveries")
        walk.press("Pause all delivery" if all_of_them else "Pause", one)
        asked = "all 1 destination" if all_of_them else CRM
        walk.answer("Pause delivery", f"Pause delivery to {asked}?")
        walk.hears("is paused: what waits keeps waiting.")
        assert system.value(PAUSED) == system.value("SELECT count(*) FROM targets")
        result_for(system, job)
        # The pipeline has been around since: files, which it delivers last, are there.
        system.send(f"file-{job}", chats(f"file-{job}", 1), at_once=True)
        system.until_results(f"file-{job}", 1)
        assert system.deliveries(job) == {"pending": 1}
        assert len(system.keys_at_receiver("/crm")) == arrived

        walk.press("Resume all" if all_of_them else "Resume", one)
        walk.hears("goes on.")
        assert system.value(PAUSED) == 0
        system.until_deliveries(job, delivered=1)
        assert len(system.keys_at_receiver("/crm")) == arrived + 1
    assert len(system.deeds("target", "paused")) == 2
    assert len(system.deeds("target", "running")) == 2


def test_a_destination_that_said_it_is_gone_is_enabled_and_gets_its_result(
    system: System, walk: Walk
) -> None:
    system.receiver.set_behaviour("/moving", answers(410, "moved away"))
    hook = {"type": "webhook", "webhook_url": system.receiver.url("/moving")}
    system.send("gone", chats("gone", 1), to=hook, at_once=True)
    system.until_deliveries("gone", exhausted=1)
    disabled = "SELECT count(*) FROM destinations WHERE disabled_at IS NOT NULL"
    system.until(lambda: system.value(disabled) == 1)
    system.receiver.set_behaviour("/moving", answers(200))

    target = f"webhook:http://127.0.0.1:{system.receiver.port}"
    walk.open("/ui/deliveries")
    walk.press("Enable", walk.row(target))
    walk.hears(f"{target} is enabled again. Its dead letters stay until redelivered.")
    assert system.value(disabled) == 0
    assert len(system.deeds("destination", "enabled")) == 1
    assert system.deliveries("gone") == {"exhausted": 1}
    walk.press("Redeliver", walk.page.locator(".letters > li").filter(has_text="Gone (410)"))
    walk.answer("Redeliver", "Redeliver 1 result?")
    system.until_deliveries("gone", delivered=1)
    assert len(system.keys_at_receiver("/moving")) == 1
