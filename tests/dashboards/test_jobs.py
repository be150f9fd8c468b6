"""The pages of jobs in a browser: what they show, each deed and its effect in the ledger."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import Store, chat_lines, failure_line, success_line
from playwright.sync_api import expect

from batching.access import Scope
from batching.jobs import JobSettings
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}
HOOK = {"type": "webhook", "webhook_url": "https://example.com/results"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One job with failures and a dead letter, one under way, one that waits."""
    store = Store.at(tmp_path / "data")
    pushed = JobSettings.model_validate({"delivery_config": HOOK})
    store.take_in(chat_lines(4, prefix="old"), name="ended job", source_id="s1", settings=pushed)
    batch = store.ended()
    first, *others = store.wire_ids(batch)
    store.collect(batch, output=[success_line(one) for one in others], error=[failure_line(first)])
    store.run("UPDATE deliveries SET state = 'exhausted', attempts = 9")
    store.take_in(chat_lines(3, prefix="run"), name="running", source_id="s2")
    store.claim()
    store.take_in(chat_lines(2, prefix="new"), name="waiting", source_id="s3")
    store.run("UPDATE sources SET rejected = 1 WHERE source_id = 's3'")
    refused = {"line": 7, "code": "invalid_json", "reason": "the line is not JSON", "raw": "{oops"}
    (store.directory.rejected / "s3__waiting.jsonl").write_text(json.dumps(refused) + "\n")
    return store


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


def states(store: Store, job: str) -> dict[str, int]:
    rows = store.rows(
        "SELECT state, count(*) AS n FROM requests JOIN jobs USING (job_id) WHERE name = ? "
        "GROUP BY state", job,
    )  # fmt: skip
    return {one["state"]: one["n"] for one in rows}


def test_the_list_tells_each_job_and_leads_to_it(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/jobs")
    line = page.locator('tr[data-id="ended job"]')
    expect(line).to_contain_text("Delivery failed")
    expect(line).to_contain_text("100% of 4")
    expect(page.locator('tr[data-id="waiting"]')).to_contain_text("1")
    page.get_by_label("Search jobs").fill("wait")
    page.get_by_label("Search jobs").press("Enter")
    expect(page).to_have_url(re.compile(r"q=wait"))
    expect(line).to_have_count(0)
    page.get_by_role("link", name="waiting", exact=True).click()
    expect(page.get_by_role("heading", name="waiting")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("2 Pending"))).to_have_attribute(
        "href", re.compile("job=waiting&state=pending")
    )


def test_a_job_is_paused_resumed_and_sent(visit: BeginVisit, web: Web, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/jobs/waiting")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("2 requests wait here until it is resumed")).to_be_visible()
    assert store.value("SELECT paused FROM jobs WHERE name = 'waiting'")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("waiting goes on.")).to_be_visible()
    assert not store.value("SELECT paused FROM jobs WHERE name = 'waiting'")
    page.get_by_role("button", name="Send now").click()
    expect(page.get_by_text("2 requests of waiting go now.")).to_be_visible()
    expect(page.get_by_role("button", name="Send now")).to_have_count(0)
    assert store.value("SELECT flush_requested_at FROM jobs WHERE name = 'waiting'") is not None
    who = store.rows("SELECT DISTINCT actor FROM transitions WHERE entity = 'job'")
    assert {"actor": "dashboard:local"} in who


def test_what_is_left_of_a_job_is_cancelled_after_a_question_with_counts(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/jobs/waiting")
    page.get_by_role("button", name="Cancel pending").click()
    dialog = page.get_by_role("dialog", name="Cancel what is left of waiting?")
    expect(dialog).to_contain_text("2 requests that wait here end as cancelled at once")
    dialog.get_by_role("button", name="Keep them").click()
    assert states(store, "waiting") == {"pending": 2}
    page.get_by_role("button", name="Cancel pending").click()
    dialog.get_by_role("button", name="Cancel requests").click()
    expect(page.get_by_text("2 requests of waiting cancelled.")).to_be_visible()
    assert states(store, "waiting") == {"cancelled": 2}


def test_failed_requests_are_retried_and_dead_letters_redelivered(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/jobs/ended%20job")
    page.get_by_role("button", name="Redeliver failed").click()
    dialog = page.get_by_role("dialog", name="Redeliver what failed of ended job?")
    expect(dialog).to_contain_text("4 results that were given up")
    dialog.get_by_role("button", name="Redeliver failed").click()
    expect(page.get_by_text("4 results of ended job on the way again.")).to_be_visible()
    assert store.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 4
    page.get_by_role("button", name="Retry failed").click()
    dialog = page.get_by_role("dialog", name="Retry what failed of ended job?")
    expect(dialog).to_contain_text("1 failed request wait for a new batch")
    dialog.get_by_role("button", name="Retry failed").click()
    expect(page.get_by_text("1 failed request of ended job wait to be sent again.")).to_be_visible()
    assert states(store, "ended job") == {"pending": 1, "succeeded": 3}


def test_refused_lines_are_shown_with_their_text_and_can_be_had(
    visit: BeginVisit, web: Web
) -> None:
    page = visit(web, accept_downloads=True).page(f"{web.url}/ui/jobs/waiting")
    page.get_by_role("link", name="Rejected lines").click()
    table = page.get_by_role("region", name="Rejected lines")
    expect(table).to_contain_text("the line is not JSON")
    expect(table).to_contain_text("{oops")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download all").click()
    told = json.loads(downloading.value.path().read_text())
    assert (told["source"], told["line"], told["raw"]) == ("waiting", 7, "{oops")


def test_results_are_downloaded_as_lines(visit: BeginVisit, web: Web) -> None:
    page = visit(web, accept_downloads=True).page(f"{web.url}/ui/jobs/ended%20job")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="NDJSON").click()
    assert downloading.value.suggested_filename == "ended-job.jsonl"
    assert len(downloading.value.path().read_text().splitlines()) == 4


def test_a_viewer_of_jobs_sees_no_buttons(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    looking = create_token(store.directory, name="looking", scopes=[Scope.READ])
    web = start_dashboard()
    page = visit(web, looking).page(f"{web.url}/ui/jobs")
    page.locator('tr[data-id="waiting"]').wait_for()
    expect(page.locator("[data-act]")).to_have_count(0)
    page.goto(f"{web.url}/ui/jobs/waiting")
    page.get_by_role("heading", name="waiting").wait_for()
    expect(page.locator("[data-act]")).to_have_count(0)


def test_a_name_without_a_job_says_so(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/jobs/nobody")
    expect(page.get_by_role("heading", name="No such job")).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/ui/jobs", "/ui/jobs/ended%20job", "/ui/jobs/waiting?tab=rejected"]
)
def test_pages_of_jobs_are_accessible_and_fit_a_phone(
    visit: BeginVisit, web: Web, path: str
) -> None:
    page = visit(web).page(f"{web.url}{path}")
    page.locator("[data-tile] .card").first.wait_for()
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    grave = [one["id"] for one in found if one["impact"] in {"serious", "critical"}]
    assert not grave, grave
    phone = visit(web, **PHONE).page(f"{web.url}{path}")
    phone.locator("[data-tile] .card").first.wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
