"""A whole system at work: web process, pipeline, provider and receiver, each in its own process."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from factories import chat_line
from running_commands import environment_of, started
from web_process import Web, end, start
from web_receiver import WebReceiver, answers

from simulator.process import SimulatorProcess
from storage.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from storage.directory import DataDirectory

PATIENCE_SECONDS: Final = 90.0
AT_ONCE: Final = 0
"""As `max_wait_seconds` of a job: its requests do not wait for others."""
CRM: Final = "crm"
CRM_TARGET: Final = f"named:{CRM}"
TO_CRM: Final = {"type": "named", "name": CRM}
"""A destination that gives up at once what it answers with 422."""
_PIPELINE: Final = Path(__file__).parent / "patient_pipeline.py"
_SETTINGS: Final = {
    "OBM_BATCH_MAX_WAIT": 3600, "OBM_POLL_MIN": 0.1, "OBM_POLL_MAX": 0.4,
    "OBM_FILE_STABLE_SECONDS": 0.1, "OBM_SEAL_SECONDS": 0.2, "OBM_CAPACITY_BACKOFF": 900,
    "OBM_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
}  # fmt: skip


def chats(job: str, count: int, *, model: str | None = None, text: str = "") -> list[bytes]:
    """Return so many requests `<job>-0`, …, no two alike, of a model of the job's own."""
    return [
        chat_line(f"{job}-{number}", model=model or f"of-{job}", text=f"{job} {number} {text}")
        for number in range(count)
    ]


@dataclass(kw_only=True)
class System:
    """What runs, and what a test asks it."""

    web: Web
    simulator: SimulatorProcess
    receiver: WebReceiver
    pipeline_log: Path

    @property
    def directory(self) -> DataDirectory:
        """Where it keeps everything."""
        return self.web.directory

    def send(
        self, job: str, lines: Sequence[bytes], *, to: object = None, at_once: bool = False
    ) -> None:
        """Upload a request file that makes this job; it fills up batches unless `at_once`."""
        settings: dict[str, object] = {"label": job}
        settings |= {"delivery_config": to} if to else {}
        settings |= {"max_wait_seconds": AT_ONCE} if at_once else {}
        answer = self.web.client.post(
            "/api/files",
            params={"name": f"{job}.jsonl", "job": json.dumps(settings)},
            content=b"\n".join(lines) + b"\n",
        )
        assert answer.status_code == 202, answer.text

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Return what the ledger holds now; nothing before there is one."""
        if not self.directory.ledger.exists():
            return []
        with snapshot(self.directory, max_age_seconds=0.0) as reader:
            return reader.rows(sql, *parameters)

    def value(self, sql: str, *parameters: object) -> Any:
        """Return one value of the ledger as it is now; None if there is no row."""
        found = self.rows(sql, *parameters)
        return next(iter(found[0].values())) if found else None

    def states(self, job: str) -> dict[str, int]:
        """Return how many requests of the job are in which state."""
        return self._counted(
            "SELECT state, count(*) AS n FROM requests JOIN jobs USING (job_id) WHERE name = ? "
            "GROUP BY state", job,
        )  # fmt: skip

    def deliveries(self, job: str) -> dict[str, int]:
        """Return how many deliveries of the job are in which state."""
        return self._counted(
            "SELECT state, count(*) AS n FROM deliveries JOIN jobs USING (job_id) WHERE name = ? "
            "GROUP BY state", job,
        )  # fmt: skip

    def _counted(self, sql: str, job: str) -> dict[str, int]:
        return {row["state"]: row["n"] for row in self.rows(sql, job)}

    def batch_of(self, job: str) -> dict[str, Any]:
        """Return the newest batch that holds requests of the job; nothing if there is none."""
        found = self.rows(
            "SELECT batches.* FROM batches WHERE batch_id = (SELECT max(batch_id) FROM requests "
            "JOIN jobs USING (job_id) WHERE name = ?)", job,
        )  # fmt: skip
        return found[0] if found else {}

    def request(self, custom_id: str) -> dict[str, Any]:
        """Return the request with its wire id as `wire_id`; nothing if it is not there yet."""
        found = self.rows(
            "SELECT requests.*, value || '-' || segment || '-' || row_index AS wire_id "
            "FROM requests, meta WHERE key = 'installation' AND custom_id = ?", custom_id,
        )  # fmt: skip
        return found[0] if found else {}

    def deeds(self, entity: str, target: str) -> list[str]:
        """Return of which objects the audit trail says that a visitor of the dashboard did it."""
        found = self.rows(
            "SELECT entity_id FROM transitions WHERE entity = ? AND target = ? "
            "AND starts_with(actor, 'dashboard:') ORDER BY happened_at", entity, target,
        )  # fmt: skip
        return [row["entity_id"] for row in found]

    def status_at_provider(self, batch: dict[str, Any]) -> str:
        """Return the status of a batch where it is paid for."""
        answer = httpx.get(
            f"{self.simulator.url}/batches/{batch['provider_id']}",
            headers={"Authorization": "Bearer any"},
        )
        return str(answer.json()["status"])

    def results(self, job: str) -> list[dict[str, Any]]:
        """Return what the job's files in the outbox hold."""
        slug = self.value("SELECT slug FROM jobs WHERE name = ?", job)
        file = self.directory.outbox / str(slug) / "results.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def keys_at_receiver(self, path: str) -> list[str]:
        """Return the idempotency keys of all POSTs to a path that were answered 200, in order."""
        return [
            each.headers["idempotency-key"]
            for each in self.receiver.received()
            if each.path == path and each.status == 200
        ]

    def until(self, holds: Callable[[], object]) -> None:
        """Return when it holds; fail with the pipeline's log if it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.pipeline_log.read_text()[-3000:]
            time.sleep(0.1)

    def until_states(self, job: str, **wanted: int) -> None:
        """Return when the requests of the job are in these states."""
        self.until(lambda: self.states(job) == wanted)

    def until_deliveries(self, job: str, **wanted: int) -> None:
        """Return when the deliveries of the job are in these states."""
        self.until(lambda: self.deliveries(job) == wanted)

    def until_results(self, job: str, count: int) -> None:
        """Return when the job's files in the outbox hold so many results."""
        self.until(lambda: len(self.results(job)) == count)

    def refuse_at_crm(self) -> None:
        """Let the receiver behind `crm` answer what is not tried again."""
        self.receiver.set_behaviour("/crm", answers(422, "no such customer"))

    def accept_at_crm(self) -> None:
        """Let the receiver behind `crm` take what comes."""
        self.receiver.set_behaviour("/crm", answers(200))


@contextmanager
def running_system(folder: Path) -> Iterator[System]:
    """Start everything on an empty data directory, and look that it ended well."""
    with SimulatorProcess(folder / "simulator") as simulator, WebReceiver() as receiver:
        data, log = folder / "data", folder / "pipeline.log"
        data.mkdir()
        (data / "destinations.toml").write_text(
            f'[{CRM}]\ntype = "webhook"\nurl = "{receiver.url("/crm")}"\nfinal_statuses = [422]\n'
        )
        provider = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": simulator.url}
        web = start(data, whole=True, **provider, **_SETTINGS)
        environment = environment_of({**provider, "OBM_DATA_DIR": data}, _SETTINGS)
        try:
            with started(
                [sys.executable, str(_PIPELINE)],
                environment=environment, folder=folder, log=log,
            ) as pipeline:  # fmt: skip
                yield System(web=web, simulator=simulator, receiver=receiver, pipeline_log=log)
                assert pipeline.poll() is None, log.read_text()
            assert web.stop() == 0
        finally:
            end(web)
