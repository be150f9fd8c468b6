"""What stands above every page, without a browser."""

from datetime import UTC, datetime, timedelta

from factories import Store, chat_lines

from batching.access import ALL_SCOPES
from batching.settings import Settings
from dashboards.context import DashboardContext
from dashboards.menu import frame_tiles
from dashboards.page import Look
from dashboards.places import Place
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.health import HealthFile
from storage.holding import hold_jobs, hold_lanes
from storage.submission_lock import lock_submission, unlock_submission


def banner(store: Store, *, later: timedelta = timedelta()) -> str:
    site = Site.of(DashboardContext(settings=Settings(_env_file=None), directory=store.directory))
    with store.ledger.transaction() as reader:
        look = Look(
            reader=reader, place=Place.of("/ui"), site=site, at=datetime.now(UTC) + later,
            visitor=Visitor(name="x", scopes=ALL_SCOPES),
        )  # fmt: skip
        return str(frame_tiles(look)["banner"])


def test_nothing_is_said_while_everything_runs(store: Store) -> None:
    HealthFile(store.directory.health, "pipeline").report("running")
    assert banner(store) == ""


def test_everything_that_is_paused_is_counted_with_the_way_to_settings(store: Store) -> None:
    store.take_in(chat_lines(2), name="one")
    store.take_in(chat_lines(1, prefix="b"), name="two", source_id="s2")
    hold_lanes(store.ledger, None, paused=True, actor="x")
    hold_jobs(store.ledger, None, paused=True, actor="x")
    store.run(
        "INSERT INTO targets (target, kind, openings, paused_at) "
        "VALUES ('rabbitmq:a', 'rabbitmq', 0, now())"
    )
    said = banner(store)
    assert "submission of 1 model" in said
    assert '<a href="/ui/jobs?tab=paused">2 jobs</a>' in said
    assert "delivery to 1 destination" in said
    assert 'href="/ui/settings"' in said


def test_a_lock_after_a_restore_is_said_with_what_ends_it(store: Store) -> None:
    with store.ledger.transaction() as transaction:
        lock_submission(transaction, reason="the ledger was restored", actor="x")
    said = banner(store)
    assert "the ledger was restored" in said
    assert "obm sweep --unlock" in said
    unlock_submission(store.ledger, reason="swept", actor="x")
    assert banner(store) == ""


def test_a_role_that_is_unwell_is_said_for_screens_without_room_for_chips(store: Store) -> None:
    health = HealthFile(store.directory.health, "pipeline")
    health.report("failing", "no <network>")
    said = banner(store)
    assert "Pipeline: failing" in said
    assert "no &lt;network&gt;" in said
    assert 'unwell"' in said
    assert "Pipeline down" in banner(store, later=timedelta(hours=1))


def test_an_api_that_has_stopped_beside_the_dashboard_is_said(store: Store) -> None:
    health = HealthFile(store.directory.health, "web")
    health.report("running", "http://127.0.0.1:4000")
    assert banner(store) == ""
    health.report("stopped")
    assert "REST API: stopped" in banner(store)
