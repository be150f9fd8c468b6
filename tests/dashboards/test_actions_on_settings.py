"""What operators hold back and let go in a system at work, and what the settings change in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from running_system import CRM_TARGET, TO_CRM, chats

from storage.health import HealthFile
from storage.intake_gate import read_pause

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from playwright.sync_api import Locator
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def part(walk: Walk, title: str) -> Locator:
    return walk.page.locator(".switches section").filter(has_text=title)


def lane_of(system: System, job: str) -> str:
    number = system.value(
        "SELECT lane_id FROM requests JOIN jobs USING (job_id) WHERE name = ?", job
    )
    return f"lane-{number}"


def is_taken_in(system: System) -> bool:
    """Bring a request over REST; return whether it was accepted."""
    line = chats("asked", 1)[0]
    answer = system.web.client.post("/api/requests", content=line)
    assert answer.status_code in {202, 503}, answer.text
    return answer.status_code == 202


def test_paused_intake_refuses_requests_until_it_is_resumed_here_or_on_any_page(
    system: System, walk: Walk
) -> None:
    for resumed_on in ("/ui/settings", "/ui"):
        walk.open("/ui/settings")
        walk.press("Pause", part(walk, "Intake"))
        walk.answer("Pause intake", "Pause intake?", reason="the disk is full")
        walk.hears("Intake is paused: new requests are refused.")
        pause = read_pause(system.directory)
        assert pause is not None
        assert (pause.actor, pause.reason) == ("dashboard:local", "the disk is full")
        system.until(lambda: not is_taken_in(system))

        walk.open(resumed_on)
        if resumed_on == "/ui":
            walk.press("Resume intake")
        else:
            walk.press("Resume", part(walk, "Intake"))
        walk.hears("Intake goes on.")
        assert read_pause(system.directory) is None
        system.until(lambda: is_taken_in(system))
    assert system.deeds("intake", "paused") == ["intake", "intake"]
    system.until(lambda: system.request("asked-0"))


def test_a_paused_model_sends_nothing_while_others_do_and_so_do_all_of_them(
    system: System, walk: Walk
) -> None:
    system.send("first", chats("first", 1), at_once=True)
    system.until_states("first", succeeded=1)
    lane = walk.row(lane_of(system, "first"))
    walk.open("/ui/settings")
    walk.press("Pause", lane)
    walk.answer("Pause submission", "Pause submission of this model?")
    walk.hears("1 lane paused: no new batches.")
    system.send("second", chats("second", 1, model="of-first"), at_once=True)
    system.until_states("second", pending=1)
    system.send("other", chats("other", 1), at_once=True)
    system.until_states("other", succeeded=1)
    assert system.states("second") == {"pending": 1}
    walk.press("Resume", lane)
    walk.hears("1 lane resumed.")
    system.until_states("second", succeeded=1)

    walk.press("Pause all", part(walk, "Submission"))
    walk.answer("Pause submission", "Pause submission of all models?")
    walk.hears("paused: no new batches.")
    assert system.value("SELECT count(*) FROM lanes WHERE NOT paused") == 0
    created = system.simulator.counters()["batches_created"]
    for job in ("third", "fourth"):
        model = {"third": "of-first", "fourth": "of-other"}[job]
        system.send(job, chats(job, 1, model=model), at_once=True)
        system.until_states(job, pending=1)
    assert system.simulator.counters()["batches_created"] == created
    walk.press("Resume all", part(walk, "Submission"))
    for job in ("third", "fourth"):
        system.until_states(job, succeeded=1)
    assert system.value("SELECT count(*) FROM lanes WHERE paused") == 0
    assert len(system.deeds("lane", "paused")) == len(system.deeds("lane", "running"))


def test_a_paused_destination_waits_for_its_results_and_so_do_all_of_them(
    system: System, walk: Walk
) -> None:
    system.accept_at_crm()
    system.send("known", chats("known", 1), to=TO_CRM, at_once=True)
    system.until_deliveries("known", delivered=1)
    places = (walk.row(CRM_TARGET), part(walk, "Delivery"))
    for job, place, all_of_them in (("one", places[0], ""), ("every", places[1], " all")):
        arrived = len(system.keys_at_receiver("/crm"))
        walk.open("/ui/settings")
        walk.press(f"Pause{all_of_them}", place)
        walk.answer("Pause delivery", "Pause delivery to")
        walk.hears("is paused: what waits keeps waiting.")
        system.send(job, chats(job, 1), to=TO_CRM, at_once=True)
        system.until_deliveries(job, pending=1)
        system.send(f"file-{job}", chats(f"file-{job}", 1), at_once=True)
        system.until_results(f"file-{job}", 1)
        assert system.deliveries(job) == {"pending": 1}
        assert len(system.keys_at_receiver("/crm")) == arrived

        walk.press(f"Resume{all_of_them}", place)
        system.until_deliveries(job, delivered=1)
        assert len(system.keys_at_receiver("/crm")) == arrived + 1
    assert system.deeds("target", "paused") == system.deeds("target", "running")


def test_a_cap_lets_no_more_tokens_be_enqueued_until_it_is_reset(
    system: System, walk: Walk
) -> None:
    system.simulator.set_scenarios("stuck:phase=in_progress", model="of-capped")
    system.send("capped", chats("capped", 2), at_once=True)
    system.until(lambda: system.batch_of("capped").get("provider_status") == "in_progress")
    cap = system.batch_of("capped")["tokens"] + 1
    walk.open("/ui/settings?tab=limits")
    walk.page.get_by_label("Model, or how its name begins").fill("of-capped")
    walk.page.get_by_label("Tokens at a time").fill(str(cap))
    walk.press("Set cap")
    walk.answer("Set cap", "Cap of-capped at")
    expect(walk.row("of-capped")).to_contain_text(str(cap))
    assert system.rows("SELECT model, tokens, set_by FROM token_caps") == [
        {"model": "of-capped", "tokens": cap, "set_by": "dashboard:local"}
    ]
    system.send("later", chats("later", 2, model="of-capped"), at_once=True)
    reason = "SELECT wait_reason FROM lanes WHERE model = 'of-capped'"
    system.until(lambda: system.value(reason) == "capacity")
    assert system.states("later") == {"pending": 2}

    walk.press("Reset", walk.row("of-capped"))
    walk.answer("Reset cap", "Reset the cap of of-capped?")
    expect(walk.row("of-capped")).to_have_count(0)
    system.until(lambda: system.batch_of("later").get("provider_status") == "in_progress")
    assert system.deeds("token_cap", "reset") == ["of-capped"]
    system.simulator.release()
    for job in ("capped", "later"):
        system.until_states(job, succeeded=2)


def test_what_is_no_part_of_the_ledger_is_seen_at_another_look(system: System, walk: Walk) -> None:
    walk.open("/ui/settings")
    role = walk.page.locator(".roles li").filter(has_text="RabbitMQ intake")
    expect(role).to_contain_text("Not started here")
    HealthFile(system.directory.health, "consumer").report("failing", "the broker is away")
    walk.press("Look again")
    expect(role).to_contain_text("the broker is away")


def test_a_part_of_a_page_that_cannot_be_read_is_tried_again(system: System, walk: Walk) -> None:
    content = b"\n".join(chats("waits", 2)) + b"\n"
    asked = {"name": "waits.jsonl", "hold": "true"}
    assert system.web.client.post("/api/files", params=asked, content=content).status_code == 202
    (about,) = system.directory.receiving.glob(".held-*/.about.json")
    good = about.read_bytes()
    about.write_bytes(b"{")
    walk.open("/ui/upload")
    expect(walk.page.get_by_text("Waiting cannot be shown.")).to_be_visible()
    expect(walk.page.get_by_role("button", name="Send request", exact=True)).to_be_visible()
    about.write_bytes(good)
    walk.press("Retry")
    expect(walk.page.get_by_role("link", name="Review and start")).to_be_visible()
