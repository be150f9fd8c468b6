"""What operators do to batches of a system at work, and what becomes of it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from running_system import CRM_TARGET, TO_CRM, chats

from storage.batch_files import batch_folder

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def gathered(system: System, walk: Walk, job: str, count: int = 3) -> Any:
    """Let requests of a model of their own gather and send them; return their batch."""
    system.send(job, chats(job, count))
    walk.open("/ui/batches")
    walk.press("Send now", walk.page.locator(".gathering li").filter(has_text=f"of-{job}"))
    walk.hears(f"{count} requests go with the next batch, at once.")
    system.until_states(job, succeeded=count)
    return system.batch_of(job)


def test_what_gathers_is_sent_at_once(system: System, walk: Walk) -> None:
    batch = gathered(system, walk, "gathering")

    assert system.status_at_provider(batch) == "completed"
    assert system.deeds("lane", "lane_flushed") == [str(batch["lane_id"])]
    system.until_results("gathering", 3)


def test_files_of_a_batch_are_deleted_and_its_results_stay(system: System, walk: Walk) -> None:
    first, second = gathered(system, walk, "kept"), gathered(system, walk, "kept-too")
    for job in ("kept", "kept-too"):
        system.until_results(job, 3)
    folders = [batch_folder(system.directory, one["batch_id"]) for one in (first, second)]
    assert all(folder.exists() for folder in folders)

    walk.open("/ui/batches")
    walk.press("Delete files", walk.row(first["batch_id"]))
    walk.answer("Delete files", f"Delete the files of batch {first['batch_id']}?")
    walk.hears(f"Files of batch {first['batch_id']} deleted.")
    walk.open(f"/ui/batches/{second['batch_id']}")
    walk.press("Delete files", walk.head)
    walk.answer("Delete files", f"Delete the files of batch {second['batch_id']}?")
    walk.hears(f"Files of batch {second['batch_id']} deleted.")

    assert not any(folder.exists() for folder in folders)
    ended = [str(one["batch_id"]) for one in (first, second)]
    assert system.deeds("batch", "files_deleted") == ended
    assert len(system.results("kept")) + len(system.results("kept-too")) == 6


def test_a_cancelled_batch_ends_at_the_provider_and_its_requests_are_delivered(
    system: System, walk: Walk
) -> None:
    system.simulator.set_scenarios("stuck:phase=in_progress", model="of-stopped*")
    for job in ("stopped", "stopped too"):
        system.send(job, chats(job, 3), at_once=True)
    first, second = (under_way(system, job) for job in ("stopped", "stopped too"))

    walk.open("/ui/batches")
    walk.press("Cancel", walk.row(first["batch_id"]))
    walk.answer("Cancel batch", f"Cancel batch {first['batch_id']}?")
    walk.hears(f"Cancel of batch {first['batch_id']} requested (3 requests).")
    walk.open(f"/ui/batches/{second['batch_id']}")
    walk.press("Cancel", walk.head)
    walk.answer("Cancel batch", f"Cancel batch {second['batch_id']}?")
    walk.hears(f"Cancel of batch {second['batch_id']} requested (3 requests).")

    for job, batch in (("stopped", first), ("stopped too", second)):
        system.until_states(job, cancelled=3)
        assert system.status_at_provider(batch) == "cancelled"
        assert system.batch_of(job)["cancelled"] == 3
        system.until_results(job, 3)
        assert {line["error"]["code"] for line in system.results(job)} == {"obm_cancelled"}
    asked = [str(one["batch_id"]) for one in (first, second)]
    assert system.deeds("batch", "cancel_requested") == asked


def under_way(system: System, job: str) -> dict[str, Any]:
    """Return the job's batch once the provider works on it."""
    system.until(lambda: system.batch_of(job).get("provider_status") == "in_progress")
    return system.batch_of(job)


def test_a_refused_batch_is_restarted_and_pays_nothing_twice(system: System, walk: Walk) -> None:
    refusal = "failing_calls:call=batches.create,times=2,status=400,code=model_not_found"
    system.simulator.set_scenarios(refusal)
    for job in ("refused", "refused too"):
        system.send(job, chats(job, 2), at_once=True)
    for job in ("refused", "refused too"):
        system.until_states(job, failed=2)
        system.until_results(job, 2)
    first, second = system.batch_of("refused"), system.batch_of("refused too")
    assert (first["state"], second["state"]) == ("failed", "failed")

    walk.open("/ui/batches")
    walk.press("Restart", walk.row(first["batch_id"]))
    walk.answer("Restart batch", f"Restart batch {first['batch_id']}?")
    walk.hears(f"Restart of batch {first['batch_id']} (2 requests).")
    walk.open(f"/ui/batches/{second['batch_id']}")
    walk.press("Restart", walk.head)
    walk.answer("Restart batch", f"Restart batch {second['batch_id']}?")
    walk.hears(f"Restart of batch {second['batch_id']} (2 requests).")

    for job in ("refused", "refused too"):
        system.until_states(job, succeeded=2)
        assert system.batch_of(job)["batch_id"] not in {first["batch_id"], second["batch_id"]}
        system.until_results(job, 4)
    restarted = [str(one["batch_id"]) for one in (first, second)]
    assert system.deeds("batch", "restarted") == restarted
    assert system.simulator.paid_twice() == []


def test_dead_letters_of_a_batch_arrive_when_their_receiver_takes_them(
    system: System, walk: Walk
) -> None:
    system.refuse_at_crm()
    for job in ("letters", "letters too"):
        system.send(job, chats(job, 2), to=TO_CRM, at_once=True)
        system.until_deliveries(job, exhausted=2)
    first, second = (system.batch_of(job)["batch_id"] for job in ("letters", "letters too"))
    assert system.keys_at_receiver("/crm") == []
    system.accept_at_crm()

    walk.open("/ui/batches")
    walk.press("Redeliver failed", walk.row(first))
    walk.answer("Redeliver failed", f"Redeliver what failed of batch {first}?")
    walk.hears("2 results on the way again.")
    system.until_deliveries("letters", delivered=2)
    walk.open(f"/ui/batches/{second}")
    walk.press("Redeliver failed", walk.head)
    walk.answer("Redeliver failed", f"Redeliver what failed of batch {second}?")
    system.until_deliveries("letters too", delivered=2)

    assert len(set(system.keys_at_receiver("/crm"))) == 4
    assert len(system.deeds("delivery", "redelivered")) == 2
    assert system.value("SELECT last_outcome FROM targets WHERE target = ?", CRM_TARGET) == (
        "success"
    )


def test_a_lane_without_room_is_sent_from_its_batch_and_its_learned_limit_forgotten(
    system: System, walk: Walk
) -> None:
    system.simulator.set_scenarios("token_limit:times=1,limit=2000000", model="full")
    system.send("first", chats("first", 3, model="full"), at_once=True)
    system.until(lambda: system.batch_of("first").get("token_refusals") == 1)
    system.send("more", chats("more", 2, model="full"))
    system.until_states("more", pending=2)
    batch = system.batch_of("first")
    assert batch["state"] == "uploaded"

    walk.open(f"/ui/batches/{batch['batch_id']}")
    walk.press("Send its lane now", walk.head)
    walk.hears("2 requests go with the next batch, at once.")
    assert system.deeds("batch", "lane_flushed") == [str(batch["batch_id"])]
    assert system.value("SELECT flush_requested_at FROM jobs WHERE name = 'more'") is not None
    lane = batch["lane_id"]
    assert system.value("SELECT learned_limit FROM lanes WHERE lane_id = ?", lane) == 2_000_000
    walk.open("/ui/settings?tab=limits")
    walk.press("Forget learned", walk.row(lane))
    walk.answer("Forget it", "Forget the learned limit?")
    walk.hears("The learned limit of 2,000,000 tokens is forgotten.")

    assert system.value("SELECT learned_limit FROM lanes WHERE lane_id = ?", lane) is None
    assert system.deeds("lane", "limit_forgotten") == [str(lane)]
    system.until_states("first", succeeded=3)
    system.until_states("more", succeeded=2)
