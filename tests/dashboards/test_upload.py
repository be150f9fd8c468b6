"""Sending requests from a browser: what a file would send is seen before anything is sent."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import Store, chat_lines
from playwright.sync_api import expect

from batching.access import Scope
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}
CHOOSE = '.large[data-drop] input[type="file"]'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """20 good lines and a bad one."""
    path = tmp_path / "orders.jsonl"
    lines = [*chat_lines(20, prefix="order"), b'{"custom_id": "bad", "method": "GET"}']
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def inbox(store: Store) -> list[str]:
    return sorted(path.name for path in store.directory.inbox.iterdir())


def held(store: Store) -> list[str]:
    return [path.name for path in store.directory.receiving.glob(".held-*")]


def test_a_chosen_file_is_priced_and_goes_only_when_it_is_started(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    expect(page).to_have_url(re.compile(r"/ui/upload/[0-9a-f]{16}$"))
    expect(page.get_by_role("heading", name="orders.jsonl")).to_be_visible()
    start = page.get_by_role("button", name="Start: send 20 requests")
    expect(start).to_be_visible()
    expect(page.get_by_text("Cost in batches")).to_be_visible()
    refused = page.get_by_role("region", name="Lines that would be rejected")
    expect(refused.get_by_role("row").nth(1)).to_contain_text("21")
    assert inbox(store) == []
    start.click()
    expect(page).to_have_url(re.compile(r"/ui/jobs/orders$"))
    expect(page.get_by_role("heading", name="On its way")).to_be_visible()
    assert inbox(store) == ["orders.jsonl"]
    assert (store.directory.inbox / "orders.jsonl").read_bytes() == file.read_bytes()
    assert held(store) == []
    store.take_in(chat_lines(20, prefix="order"), name="orders", source_id="s1")
    expect(page.get_by_role("heading", name="orders")).to_be_visible()


def test_a_discarded_file_leaves_nothing(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    page.get_by_role("button", name="Discard").click()
    dialog = page.get_by_role("dialog", name="Discard this file?")
    dialog.get_by_role("button", name="Discard file").click()
    expect(page).to_have_url(re.compile(r"/ui/upload$"))
    expect(page.get_by_text("Waiting for your word")).to_have_count(0)
    assert (inbox(store), held(store)) == ([], [])


def test_several_files_wait_side_by_side_and_a_bad_one_says_why(
    visit: BeginVisit, web: Web, store: Store, file: Path, tmp_path: Path
) -> None:
    other, picture = tmp_path / "more.jsonl", tmp_path / "picture.png"
    other.write_bytes(b"\n".join(chat_lines(3, prefix="more")) + b"\n")
    picture.write_bytes(b"\x89PNG")
    begun = visit(web)
    page = begun.page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files([file, other, picture])
    expect(page.get_by_role("alert")).to_contain_text("picture.png")
    expect(page.get_by_role("link", name="Review and start")).to_have_count(2)
    assert len(held(store)) == 2
    begun.troubles[:] = [one for one in begun.troubles if "422" not in one]


def test_the_same_content_again_is_sent_only_after_a_question(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    store.take_in(chat_lines(1), name="earlier", source_id="s1")
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    page.get_by_role("button", name="Start: send 20 requests").wait_for()
    about = next(store.directory.receiving.glob(".held-*/.about.json"))
    found = json.loads(about.read_text())
    store.run("UPDATE sources SET content_hash = ?", found["content_hash"])
    about.write_text(json.dumps(found | {"earlier_job": "earlier"}))
    page.reload()
    expect(page.get_by_text("has taken in the same content before")).to_be_visible()
    page.get_by_role("button", name="Start: send 20 requests").click()
    dialog = page.get_by_role("dialog", name="Send the same content again?")
    dialog.get_by_role("button", name="Send again").click()
    expect(page).to_have_url(re.compile(r"/ui/jobs/orders$"))
    side_file = store.directory.inbox / "orders.job.json"
    assert json.loads(side_file.read_text()) == {"again": True}


def test_one_request_is_written_in_the_browser(visit: BeginVisit, web: Web, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/upload")
    page.get_by_label("Model").first.fill("gpt-4o")
    page.get_by_label("Prompt").fill("Why is the <sky> blue?")
    page.get_by_role("button", name="Send request", exact=True).click()
    expect(page).to_have_url(re.compile(r"/ui/jobs/dashboard$"))
    sent = next(path for path in store.directory.inbox.iterdir() if path.suffix == ".jsonl")
    line = json.loads(sent.read_text())
    assert line["body"]["model"] == "gpt-4o"
    assert line["body"]["messages"] == [{"role": "user", "content": "Why is the <sky> blue?"}]
    assert '{"label": "dashboard"}' in [
        path.read_text() for path in store.directory.inbox.glob("*.job.json")
    ]


def test_a_dropped_file_of_another_page_is_sent_too(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    page = visit(web).page(f"{web.url}/ui")
    page.locator("[data-drop] input").set_input_files(file)
    expect(page.get_by_role("button", name="Start: send 20 requests")).to_be_visible()
    assert len(held(store)) == 1


def test_while_intake_is_paused_nothing_starts(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    start = page.get_by_role("button", name="Start: send 20 requests")
    start.wait_for()
    pause = {"since": "2026-11-23T10:00:00+00:00", "actor": "cli:me", "reason": None}
    store.directory.intake_pause.write_text(json.dumps(pause))
    start.click()
    expect(page.get_by_text("intake is paused by cli:me")).to_be_visible()
    assert inbox(store) == []
    assert len(held(store)) == 1


def test_a_viewer_cannot_send(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web], file: Path
) -> None:
    looking = create_token(store.directory, name="looking", scopes=[Scope.READ])
    sending = create_token(store.directory, name="sending", scopes=[Scope.READ, Scope.SUBMIT])
    web = start_dashboard()
    page = visit(web, sending).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    page.get_by_role("button", name="Start: send 20 requests").wait_for()
    address = page.url
    begun = visit(web, looking)
    seen = begun.page(address)
    expect(seen.get_by_text("Cost in batches")).to_be_visible()
    expect(seen.get_by_role("button", name=re.compile("Start"))).to_have_count(0)
    seen.goto(f"{web.url}/ui/upload")
    expect(seen.get_by_text("Your token may look, but not send")).to_be_visible()
    expect(seen.locator("input[type=file]")).to_have_count(0)
    expect(seen.locator("[data-act]")).to_have_count(0)


def test_the_pages_for_sending_are_accessible_and_fit_a_phone(
    visit: BeginVisit, web: Web, file: Path
) -> None:
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    page.get_by_role("button", name="Start: send 20 requests").wait_for()
    for address in (page.url, f"{web.url}/ui/upload"):
        page.goto(address)
        page.locator("[data-tile] .card").first.wait_for()
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
        grave = [one["id"] for one in found if one["impact"] in {"serious", "critical"}]
        assert not grave, grave
        phone = visit(web, **PHONE).page(address)
        phone.locator("[data-tile] .card").first.wait_for()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_file_is_started_under_another_job_and_to_a_named_destination(
    visit: BeginVisit, web: Web, store: Store, file: Path
) -> None:
    (store.directory.root / "destinations.toml").write_text(
        '[crm]\ntype = "webhook"\nurl = "https://crm.example/in"\n'
    )
    page = visit(web).page(f"{web.url}/ui/upload")
    page.locator(CHOOSE).set_input_files(file)
    expect(page).to_have_url(re.compile(r"/ui/upload/[0-9a-f]{16}$"))
    form = page.locator("form#choices")
    form.get_by_label("Job").fill("autumn/orders")
    form.get_by_label("Results go to").select_option("Destination crm")
    page.get_by_role("button", name="Start: send 20 requests").click()
    expect(page).to_have_url(re.compile(r"/ui/jobs/autumn(/|%2F)orders$"))
    assert inbox(store) == ["orders.job.json", "orders.jsonl"]
    assert json.loads((store.directory.inbox / "orders.job.json").read_bytes()) == {
        "label": "autumn/orders", "delivery_config": {"type": "named", "name": "crm"}
    }  # fmt: skip
    (row,) = store.rows("SELECT target, actor FROM transitions WHERE entity = 'file'")
    assert (row["target"], row["actor"]) == ("started", "dashboard:local")
