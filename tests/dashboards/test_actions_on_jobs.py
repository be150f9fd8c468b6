"""What operators do to jobs of a system at work, in their list and on the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running_system import TO_CRM, chats

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from playwright.sync_api import Locator
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def places(walk: Walk, first: str, second: str) -> tuple[tuple[str, str, Locator], ...]:
    """Return two jobs: one for the list, one for its own page; each with its address and place."""
    return (
        (first, "/ui/jobs", walk.row(first)),
        (second, f"/ui/jobs/{second}", walk.head),
    )


def test_a_paused_job_stays_while_others_of_its_model_go_and_is_sent_when_resumed(
    system: System, walk: Walk
) -> None:
    jobs = places(walk, "held", "held-too")
    for job, address, place in jobs:
        system.send(job, chats(job, 2, model="shared"))
        system.until_states(job, pending=2)
        walk.open(address)
        walk.press("Pause", place)
        walk.hears(f"{job} is paused: what waits stays here until it is resumed.")
    system.send("passing", chats("passing", 1, model="shared"), at_once=True)
    system.until_states("passing", succeeded=1)
    assert [system.states(job) for job, _, _ in jobs] == [{"pending": 2}, {"pending": 2}]
    assert system.deeds("job", "paused") == ["held", "held-too"]

    for job, address, place in jobs:
        walk.open(address)
        walk.press("Resume", place)
        walk.hears(f"{job} goes on.")
        assert system.states(job) == {"pending": 2}
        walk.press("Send now", place)
        walk.hears(f"2 requests of {job} go now.")
        system.until_states(job, succeeded=2)
        system.until_results(job, 2)
    assert system.deeds("job", "open") == ["held", "held-too"]
    flushed = system.deeds("job", "flushed")
    assert flushed == ["held", "held-too"]


def test_what_waits_of_a_cancelled_job_is_delivered_as_cancelled(
    system: System, walk: Walk
) -> None:
    for job, address, place in places(walk, "unwanted", "unwanted-too"):
        system.send(job, chats(job, 2))
        system.until_states(job, pending=2)
        walk.open(address)
        # The list offers the two likeliest things only; who has paused a job may cancel it there.
        walk.press("Pause", place)
        walk.press("Cancel" if address == "/ui/jobs" else "Cancel pending", place)
        walk.answer("Cancel requests", f"Cancel what is left of {job}?")
        walk.hears(f"2 requests of {job} cancelled.")
        assert system.states(job) == {"cancelled": 2}
        system.until_results(job, 2)
        assert {line["error"]["code"] for line in system.results(job)} == {"obm_cancelled"}
    assert system.deeds("job", "cancel_requested") == ["unwanted", "unwanted-too"]


def test_dead_letters_of_a_job_are_redelivered_and_then_everything(
    system: System, walk: Walk
) -> None:
    system.refuse_at_crm()
    jobs = places(walk, "letters", "letters-too")
    for job, _, _ in jobs:
        system.send(job, chats(job, 2), to=TO_CRM, at_once=True)
    for job, _, _ in jobs:
        system.until_deliveries(job, exhausted=2)
    system.accept_at_crm()
    for job, address, place in jobs:
        walk.open(address)
        walk.press("Redeliver failed", place)
        walk.answer("Redeliver failed", f"Redeliver what failed of {job}?")
        walk.hears(f"2 results of {job} on the way again.")
        system.until_deliveries(job, delivered=2)
    first = system.keys_at_receiver("/crm")
    assert len(set(first)) == 4

    walk.press("Redeliver all", walk.head)
    walk.answer("Redeliver all", "Redeliver everything of letters-too?")
    walk.hears("2 results of letters-too on the way again.")
    system.until(lambda: len(system.keys_at_receiver("/crm")) == 6)
    assert set(system.keys_at_receiver("/crm")[4:]) == set(first[2:])
    system.until_deliveries("letters-too", delivered=2)
    assert system.deeds("delivery", "redelivered") == ["letters", "letters-too", "letters-too"]


def test_failed_requests_of_a_job_are_retried_and_nothing_else_is_paid_again(
    system: System, walk: Walk
) -> None:
    system.simulator.set_scenarios(
        "error_lines:containing=trips,attempts=1,status=400", model="of-retried"
    )
    lines = [*chats("retried", 3), *chats("trips", 2, model="of-retried")]
    system.send("retried", lines, at_once=True)
    system.until_states("retried", succeeded=3, failed=2)
    system.until_results("retried", 5)
    walk.open("/ui/jobs/retried")
    walk.press("Retry failed", walk.head)
    walk.answer("Retry failed", "Retry what failed of retried?")
    walk.hears("2 failed requests of retried wait to be sent again.")

    system.until_states("retried", succeeded=5)
    system.until_results("retried", 7)
    assert system.deeds("job", "retried") == ["retried"]
    assert system.simulator.paid_twice() == []
