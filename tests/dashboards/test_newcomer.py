"""Somebody new: from an empty system to the first delivered result, by what can be seen alone."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from running_commands import environment_of, started
from web_process import end, start

from simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboard_visits import BeginVisit
    from web_process import Web

_PIPELINE = Path(__file__).parent.parent / "patient_pipeline.py"
_PATIENCE_MILLISECONDS = 40_000


@contextmanager
def system(folder: Path) -> Iterator[Web]:
    """A dashboard, a pipeline and a provider on an empty data directory."""
    settings = {"OBM_BATCH_MAX_WAIT": 3600, "OBM_POLL_MIN": 1, "OBM_FILE_STABLE_SECONDS": 1}
    with SimulatorProcess(folder / "simulator") as simulator:
        web = start(folder / "data", "--only", "dashboard", **settings)
        environment = environment_of(
            {
                "OPENAI_API_KEY": "any",
                "OPENAI_BASE_URL": simulator.url,
                "OBM_DATA_DIR": folder / "data",
                "PYTHONPATH": _PIPELINE.parent,
            },
            settings,
        )
        try:
            with started(
                [sys.executable, str(_PIPELINE)],
                environment=environment, folder=folder, log=folder / "pipeline.log",
            ):  # fmt: skip
                yield web
        finally:
            end(web)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_from_an_empty_system_to_the_first_delivered_result(
    visit: BeginVisit, tmp_path: Path
) -> None:
    with system(tmp_path) as web:
        page = visit(web, accept_downloads=True).page(f"{web.url}/ui")
        expect(page.get_by_text("Send your first requests")).to_be_visible()
        page.get_by_role("link", name="Send requests").click()

        page.get_by_role("button", name="Create sample requests").click()
        begin = page.get_by_role("button", name="Start: send 10 requests")
        expect(begin).to_be_visible()
        expect(page.get_by_text("Nothing sent yet")).to_be_visible()
        expect(page.get_by_text("Cost in batches")).to_be_visible()
        begin.click()

        send_now = page.get_by_role("button", name="Send now")
        expect(send_now).to_be_visible(timeout=_PATIENCE_MILLISECONDS)
        send_now.click()
        expect(page.get_by_text("10 requests of sample-")).to_be_visible()

        ndjson = page.get_by_role("link", name="NDJSON")
        expect(ndjson).to_be_visible(timeout=_PATIENCE_MILLISECONDS)
        expect(page.get_by_role("img", name="Results: 10 delivered")).to_be_visible(
            timeout=_PATIENCE_MILLISECONDS
        )
        with page.expect_download() as downloading:
            ndjson.click()
        lines = Path(downloading.value.path()).read_text().splitlines()
        found = [json.loads(line) for line in lines]
        assert len(found) == 10
        assert {line["response"]["status_code"] for line in found} == {200}
        delivered = list(web.directory.outbox.rglob("results.jsonl"))
        assert sum(len(file.read_text().splitlines()) for file in delivered) == 10
