"""Sending from the browser and taking away: what arrives in the ledger, and what it downloads."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from playwright.sync_api import expect
from running_system import chats

if TYPE_CHECKING:
    from dashboard_walks import Walk
    from playwright.sync_api import Locator
    from running_system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CHOOSE = '.large[data-drop] input[type="file"]'


def held(system: System) -> list[str]:
    return [path.name for path in system.directory.receiving.glob(".held-*")]


def chosen(walk: Walk, folder: Path, name: str, count: int) -> Path:
    """Choose a request file of this computer in the browser and wait until it has been read."""
    file = folder / f"{name}.jsonl"
    file.write_bytes(b"\n".join([*chats(name, count), b"{oops"]) + b"\n")
    walk.open("/ui/upload")
    walk.page.locator(CHOOSE).set_input_files(file)
    expect(walk.page.get_by_role("button", name=f"Start: send {count} requests")).to_be_visible()
    return file


def downloaded(walk: Walk, link: Locator) -> Path:
    with walk.page.expect_download() as downloading:
        link.click()
    return Path(downloading.value.path())


def test_one_request_and_made_up_ones_are_written_in_the_browser(
    system: System, walk: Walk
) -> None:
    walk.open("/ui/upload")
    form = walk.page.locator(".send-one")
    form.get_by_label("Model").fill("of-one")
    form.get_by_label("Job").fill("one")
    form.get_by_label("Prompt").fill("Why is the <sky> blue?")
    walk.press("Send request")
    expect(walk.page).to_have_url(re.compile("/ui/jobs/one$"))
    system.until_states("one", pending=1)
    walk.press("Send now", walk.head)
    system.until_states("one", succeeded=1)
    system.until_results("one", 1)

    walk.open("/ui/upload")
    walk.press("Create sample requests")
    begin = walk.page.get_by_role("button", name="Start: send 10 requests")
    expect(begin).to_be_visible()
    assert system.value("SELECT count(*) FROM requests") == 1
    begin.click()
    expect(walk.page).to_have_url(re.compile("/ui/jobs/sample-"))
    waiting = "SELECT count(*) FROM requests WHERE state = 'pending'"
    system.until(lambda: system.value(waiting) == 10)


def test_a_chosen_file_is_sent_once_again_only_if_asked_and_not_if_discarded(
    system: System, walk: Walk, tmp_path: Path
) -> None:
    chosen(walk, tmp_path, "orders", 3)
    assert system.states("orders") == {}
    walk.press("Start: send 3 requests")
    system.until_states("orders", pending=3)
    assert system.value("SELECT rejected FROM sources WHERE name = 'orders.jsonl'") == 1

    chosen(walk, tmp_path, "orders", 3)
    walk.press("Start: send 3 requests")
    walk.answer("Send again", "Send the same content again?")
    taken_in = "SELECT count(*) FROM requests WHERE starts_with(custom_id, 'orders-')"
    system.until(lambda: system.value(taken_in) == 6)

    chosen(walk, tmp_path, "unwanted", 2)
    walk.press("Discard", walk.head)
    walk.answer("Discard file", "Discard this file?")
    walk.hears("The file is deleted; nothing of it was sent.")
    assert held(system) == []
    chosen(walk, tmp_path, "unwanted too", 2)
    walk.open("/ui/upload")
    walk.press("Discard", walk.page.locator(".held"))
    expect(walk.page.locator(".held")).to_have_count(0)
    assert held(system) == []
    assert system.states("unwanted") == system.states("unwanted too") == {}


@pytest.fixture(scope="module")
def told(system: System) -> str:
    """A job with answers, errors and a rejected line; return its name."""
    system.simulator.set_scenarios("error_lines:containing=trips,status=400", model="of-told")
    lines = [*chats("told", 6), *chats("trips", 2, model="of-told"), b"{oops"]
    system.send("told", lines, at_once=True)
    system.until_results("told", 8)
    assert system.states("told") == {"succeeded": 6, "failed": 2}
    return "told"


def test_what_a_filter_finds_is_exported_as_the_ledger_has_it(
    system: System, walk: Walk, told: str
) -> None:
    walk.open(f"/ui/requests?q=job:{told}+state:failed")
    walk.page.locator("tbody tr").nth(1).wait_for()
    exports = walk.page.locator(".exports")
    with downloaded(walk, exports.get_by_role("link", name="CSV")).open() as file:
        rows = list(csv.DictReader(file))
    table = pl.read_parquet(downloaded(walk, exports.get_by_role("link", name="Parquet")))

    known = system.rows(
        "SELECT custom_id, state, error_code, input_tokens FROM requests JOIN jobs USING (job_id) "
        "WHERE name = ? AND state = 'failed' ORDER BY segment, row_index", told,
    )  # fmt: skip
    assert len(known) == 2
    assert table.select("custom_id", "state", "error_code", "input_tokens").to_dicts() == known
    assert [row["id"] for row in rows] == table["id"].to_list()
    assert [(row["custom_id"], row["state"], row["error_code"]) for row in rows] == [
        (row["custom_id"], row["state"], row["error_code"]) for row in known
    ]


def test_results_files_and_rejected_lines_of_a_job_are_downloaded(
    system: System, walk: Walk, told: str
) -> None:
    walk.open(f"/ui/jobs/{told}")
    lines = lines_of(downloaded(walk, walk.page.get_by_role("link", name="NDJSON")))
    table = pl.read_parquet(downloaded(walk, walk.page.get_by_role("link", name="Parquet")))
    delivered = {line["custom_id"]: line for line in system.results(told)}
    assert {line["custom_id"]: line["response"] for line in lines} == {
        name: line["response"] for name, line in delivered.items()
    }
    assert sorted(table["custom_id"].to_list()) == sorted(delivered)
    walk.open(f"/ui/jobs/{told}?tab=rejected")
    (refused,) = lines_of(downloaded(walk, walk.page.get_by_role("link", name="Download all")))
    assert (refused["line"], refused["raw"]) == (9, "{oops")

    walk.open(f"/ui/batches/{system.batch_of(told)['batch_id']}")
    links = walk.page.locator('a[download][href*="/files/"]')
    expect(links).to_have_count(2)
    files = {
        (link.get_attribute("href") or "").rpartition("/")[2]: lines_of(downloaded(walk, link))
        for link in links.all()
    }
    assert {kind: len(lines) for kind, lines in files.items()} == {"output": 6, "error": 2}


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_figures_are_downloaded_as_the_ledger_has_them(
    system: System, walk: Walk, told: str
) -> None:
    walk.open(f"/ui/analytics?preset=24h&job={told}")
    links = walk.page.locator("a.csv")
    expect(links.first).to_be_visible()
    figures = {}
    for link in links.all():
        with downloaded(walk, link).open() as file:
            figures[link.get_attribute("download")] = list(csv.DictReader(file))
    assert len(figures) >= 10
    counted = system.rows(
        "SELECT count(*) AS received, sum(input_tokens) AS input, sum(output_tokens) AS output "
        "FROM requests JOIN jobs USING (job_id) WHERE name = ?", told,
    )[0]  # fmt: skip
    assert sum(int(row["received"] or 0) for row in figures["flow.csv"]) == counted["received"]
    (by_model,) = figures["usage_by_model.csv"]
    assert by_model["name"] == f"of-{told}"
    assert int(by_model["input_tokens"]) == counted["input"]
    assert int(by_model["output_tokens"]) == counted["output"]
