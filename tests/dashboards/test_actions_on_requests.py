"""What operators do to requests of a system at work: ticked ones, all that match, single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running_system import TO_CRM, chats
from web_receiver import answers

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FAILS_ONCE = "error_lines:containing=fails once,attempts=1,status=400"


def failed(system: System, job: str, count: int) -> list[str]:
    """Let so many requests fail that will succeed when they are sent again; return their ids."""
    system.simulator.set_scenarios(FAILS_ONCE, model=f"of-{job}")
    system.send(job, chats(job, count, text="fails once"), at_once=True)
    system.until_results(job, count)
    assert system.states(job) == {"failed": count}
    return [f"{job}-{number}" for number in range(count)]


def wire_id(system: System, custom_id: str) -> str:
    system.until(lambda: system.request(custom_id))
    return str(system.request(custom_id)["wire_id"])


def test_ticked_requests_are_cancelled_and_run_again_until_they_have_an_answer(
    system: System, walk: Walk
) -> None:
    names = ["wait-0", "wait-1", "wait-2"]
    system.send("wait", chats("wait", 3))
    system.until_states("wait", pending=3)
    walk.open("/ui/requests?q=job:wait")
    bar = walk.tick(*(wire_id(system, name) for name in names[:2]))
    walk.press("Cancel", bar)
    walk.answer("Cancel requests", "Cancel 2 requests?")
    walk.hears("2 requests cancelled.")

    system.until_results("wait", 2)
    assert [system.request(name)["state"] for name in names] == [
        "cancelled", "cancelled", "pending"
    ]  # fmt: skip
    assert {line["error"]["code"] for line in system.results("wait")} == {"obm_cancelled"}
    assert len(system.deeds("request", "cancel_requested")) == 1

    names = failed(system, "again", 2)
    walk.open("/ui/requests?q=job:again+state:failed")
    bar = walk.tick(*(wire_id(system, name) for name in names))
    walk.press("Run again", bar)
    walk.answer("Run again", "Run 2 requests again?")
    walk.hears("2 requests go into a new batch.")
    system.until_states("again", succeeded=2)
    system.until_results("again", 4)
    assert len(system.deeds("request", "retried")) == 1
    assert system.simulator.paid_twice() == []


def test_all_that_match_are_meant_beyond_the_rows_that_are_shown(
    system: System, walk: Walk
) -> None:
    system.accept_at_crm()
    system.send("many", chats("many", 12), to=TO_CRM, at_once=True)
    system.until_deliveries("many", delivered=12)
    before = system.keys_at_receiver("/crm")

    walk.open("/ui/requests?q=job:many&size=10")
    walk.page.get_by_role("checkbox", name="All rows").check()
    bar = walk.page.locator("[data-bulk]")
    walk.press("Select all 12 matching", bar)
    walk.press("Redeliver", bar)
    dialog = walk.page.get_by_role("dialog", name="Redeliver 12 requests?")
    dialog.get_by_role("checkbox").check()
    walk.answer("Redeliver", "Redeliver 12 requests?")
    walk.hears("12 results on the way again.")

    system.until(lambda: len(system.keys_at_receiver("/crm")) == 24)
    assert sorted(system.keys_at_receiver("/crm")) == sorted(before * 2)
    system.until_deliveries("many", delivered=12)
    assert len(system.deeds("delivery", "redelivered")) == 1


def test_a_request_at_the_provider_is_cancelled_from_its_page(system: System, walk: Walk) -> None:
    system.simulator.set_scenarios("stuck:phase=in_progress", model="of-alone")
    system.send("alone", chats("alone", 1), at_once=True)
    system.until(lambda: system.batch_of("alone").get("provider_status") == "in_progress")
    walk.open(f"/ui/requests/{wire_id(system, 'alone-0')}")
    walk.press("Cancel", walk.head)
    walk.answer("Cancel request", "Cancel request alone-0?")
    walk.hears("1 request in a batch: cancel requested, a result that still comes is kept.")

    assert system.request("alone-0")["cancel_requested"]
    system.until_states("alone", cancelled=1)
    assert system.status_at_provider(system.batch_of("alone")) == "cancelled"
    assert system.simulator.counters()["lines_paid_more_than_once"] == 0


def test_a_failed_request_runs_again_from_its_page(system: System, walk: Walk) -> None:
    failed(system, "single", 1)
    walk.open(f"/ui/requests/{wire_id(system, 'single-0')}")
    walk.press("Run again", walk.head)
    walk.answer("Run again", "Run request single-0 again?")
    walk.hears("1 request goes into a new batch.")

    system.until_states("single", succeeded=1)
    system.until_results("single", 2)
    assert system.results("single")[-1]["response"]["status_code"] == 200


def test_a_dead_letter_is_redelivered_from_the_page_of_its_request(
    system: System, walk: Walk
) -> None:
    system.refuse_at_crm()
    system.send("letter", chats("letter", 1), to=TO_CRM, at_once=True)
    system.until_deliveries("letter", exhausted=1)
    system.accept_at_crm()
    arrived = len(system.keys_at_receiver("/crm"))
    walk.open(f"/ui/requests/{wire_id(system, 'letter-0')}")
    walk.press("Redeliver", walk.head)
    walk.answer("Redeliver", "Redeliver request letter-0?")
    walk.hears("1 result on the way again.")

    system.until_deliveries("letter", delivered=1)
    assert len(system.keys_at_receiver("/crm")) == arrived + 1


def test_a_result_goes_where_its_edited_delivery_says(system: System, walk: Walk) -> None:
    system.receiver.set_behaviour("/moved", answers(200))
    system.send("moved", chats("moved", 1))
    request = wire_id(system, "moved-0")
    walk.open(f"/ui/requests/{request}")
    walk.press("Edit delivery", walk.head)
    dialog = walk.page.get_by_role("dialog", name="Edit the delivery of moved-0")
    dialog.get_by_label("Where the result goes").select_option("webhook")
    walk.answer(
        "Change delivery", "Edit the delivery of moved-0", webhook_url=system.receiver.url("/moved")
    )
    walk.hears("The delivery is changed: the next attempt goes there.")
    assert system.deeds("request", "destination_changed") == [request]

    walk.open("/ui/jobs/moved")
    walk.press("Send now", walk.head)
    system.until_deliveries("moved", delivered=1)
    (arrived,) = [each for each in system.receiver.received() if each.path == "/moved"]
    assert arrived.json["custom_id"] == "moved-0"
    assert arrived.json["response"]["status_code"] == 200
