"""Who may act in a system at work: tokens are made and revoked, and who only looks does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dashboard_walks import Walk, known_deeds
from playwright.sync_api import expect
from running_system import chats

from batching.access import ALL_SCOPES, Scope
from dashboards.pages.registry import page_of
from dashboards.places import Place
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from dashboard_visits import BeginVisit
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FORGE = """(place, [act, id]) => {
  const button = document.createElement("button")
  button.type = "button"
  button.dataset.act = act
  button.dataset.id = id
  place.append(button)
  button.click()
  button.remove()
}"""
HARMLESS = {"settings: look-again", "frame: retry"}


@pytest.fixture(scope="module")
def boss(system: System) -> str:
    """The token of somebody who may do everything; from now on nobody gets in without one."""
    system.send("seen", chats("seen", 2))
    system.until_states("seen", pending=2)
    token = create_token(system.directory, name="boss", scopes=ALL_SCOPES)
    system.until(lambda: system.web.client.get("/api/jobs").status_code == 401)
    return token


def status_with(system: System, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return system.web.client.get("/api/jobs", headers=headers).status_code


def test_a_token_that_was_made_is_good_until_it_is_revoked(
    system: System, walk: Walk, visit: BeginVisit, boss: str
) -> None:
    mine = Walk(visit=visit(system.web, boss), url=system.web.url, done=walk.done)
    mine.open("/ui/settings?tab=access")
    mine.page.get_by_label("Name").fill("nightly")
    mine.page.get_by_role("checkbox", name="read").check()
    mine.press("Create token")
    dialog = mine.page.get_by_role("dialog", name="The token nightly")
    token = dialog.locator("pre").text_content() or ""
    mine.press("I have kept it", dialog)
    system.until(lambda: status_with(system, token) == 200)
    assert system.deeds("token", "created") == ["nightly"]

    mine.press("Revoke", mine.page.locator("tr").filter(has_text="nightly"))
    mine.answer("Revoke token", "Revoke the token nightly?")
    mine.hears("The token nightly is not valid any more.")
    system.until(lambda: status_with(system, token) == 401)
    assert system.deeds("token", "revoked") == ["nightly"]


def test_who_only_looks_sees_no_button_and_forges_none(
    system: System, visit: BeginVisit, boss: str
) -> None:
    del boss  # without any token everybody may do everything
    token = create_token(system.directory, name="viewer", scopes=[Scope.READ])
    system.until(lambda: status_with(system, token) == 200)
    walk = Walk(visit=visit(system.web, token), url=system.web.url)
    request = system.request("seen-0")["wire_id"]
    forged = set()
    for path in (
        "/ui", "/ui/batches", "/ui/batches/1", "/ui/requests", f"/ui/requests/{request}",
        "/ui/deliveries", "/ui/jobs", "/ui/jobs/seen", "/ui/upload", "/ui/upload/0123456789abcdef",
        "/ui/settings",
    ):  # fmt: skip
        page = walk.open(path)
        expect(page.locator(".skeleton")).to_have_count(0)
        for button in page.locator("[data-act]").all():
            assert button.get_attribute("data-act") == "look-again"
        place = Place.of(path)
        for act in {*page_of(place).deeds, "resume-intake"}:
            if act not in page_of(place).harmless:
                page.locator(".board > .page").evaluate(FORGE, [act, "1"])
                walk.hears("this needs a token with the scope")
        forged |= walk.done
    assert forged == known_deeds() - HARMLESS
    assert not system.value("SELECT count(*) FROM transitions WHERE actor = 'dashboard:viewer'")
    assert system.states("seen") == {"pending": 2}
    assert list(system.directory.receiving.glob(".held-*")) == []

    statuses = [
        walk.page.evaluate(
            "path => fetch(path, {method: 'POST'}).then((answer) => answer.status)", path
        )
        for path in ("/api/jobs/seen/cancel", "/api/jobs/seen/flush", "/api/batches/1/cancel")
    ]
    assert statuses == [403, 403, 403]
    assert system.states("seen") == {"pending": 2}
    walk.visit.troubles[:] = [one for one in walk.visit.troubles if "403" not in one]
