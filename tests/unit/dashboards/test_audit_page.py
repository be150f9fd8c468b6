"""The audit trail without a browser: filters, links, words."""

from pathlib import Path

import pytest
from delivery_ledger import CRM, store_with_deliveries
from factories import Store
from looks import Looker

from storage.holding import hold_lanes, hold_targets
from storage.switches import hold_intake


@pytest.fixture(scope="module")
def looker(tmp_path_factory: pytest.TempPathFactory) -> Looker:
    store = store_with_deliveries(tmp_path_factory.mktemp("audited") / "data")
    hold_lanes(store.ledger, [1], paused=True, actor="dashboard:anna")
    hold_targets(store.ledger, [CRM], paused=True, actor="cli:bert")
    hold_intake(store.ledger, paused=True, actor="api:carl", reason="the disk is <full>")
    return Looker(store.directory)


def rows(looker: Looker, query: str = "") -> str:
    return looker.tile(f"/ui/audit{query}", "rows")


def test_who_did_what_to_what_and_why(looker: Looker) -> None:
    shown = rows(looker, "?who=people")
    assert shown.count("<tr data-id") == 3
    for words in (">anna<", "dashboard", ">bert<", "command line", ">carl<", "REST API"):
        assert words in shown
    assert "the disk is &lt;full&gt;" in shown
    assert "gpt-4o-mini" in shown  # the lane is told by its model


def test_objects_are_links_to_where_they_are_shown(looker: Looker) -> None:
    shown = rows(looker)
    for address in (
        "/ui/batches/1", "/ui/jobs/crm", "/ui/settings?tab=limits", "/ui/settings",
        "/ui/deliveries?dest=webhook%3Ahttps%3A%2F%2Fcrm.example%3A443",
    ):  # fmt: skip
        assert f'href="{address}"' in shown


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?actor=dashboard:anna", 1),
        ("?entity=target", 1),
        ("?entity=batch&id=2&who=pipeline", 6),
        ("?q=FULL", 1),
        ("?who=people&since=1h", 3),
        ("?who=people&since=2999-01-01", 0),
    ],
)
def test_the_trail_is_filtered_by_person_object_text_and_time(
    looker: Looker, query: str, count: int
) -> None:
    assert rows(looker, query).count("<tr data-id") == count


def test_it_has_pages(looker: Looker) -> None:
    first, second = rows(looker, "?size=10"), rows(looker, "?size=10&page=2")
    assert first.count("<tr data-id") == 10
    assert second.count("<tr data-id") >= 3
    assert "Showing 1 to 10 of" in first


def test_nothing_matches_is_another_text_than_nothing_yet(looker: Looker, tmp_path: Path) -> None:
    assert "Nothing matches" in rows(looker, "?q=nosuchthing")
    fresh = Looker(Store.at(tmp_path / "fresh").directory)
    assert "Nothing has happened yet" in rows(fresh)
    assert "No operator has done anything yet" in rows(fresh, "?who=people")
