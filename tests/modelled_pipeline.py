"""A state machine that does anything to the pipeline in any order, beside a simple model of it.

The model knows what was handed in and what may have come of it. After each deed the ledger, the
outbox and the provider's bill must agree with it; at the end everything must be answered.
"""

import json
import secrets
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plain_pipeline import plain_flows
from put_clocks import put_clock
from web_receiver import WebReceiver

from batching.settings import Settings
from deployments.until_idle import Cycles
from simulator.process import SimulatorProcess
from storage.batch_actions import cancel_batch
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.holding import hold_jobs, hold_lanes
from storage.jobs import cancel_job, retry_job
from storage.ledger import Ledger
from storage.redelivery import Selection, redeliver
from storage.reports.progress import requests_by_state
from storage.request_actions import cancel_request
from storage.request_queries import requests_named
from storage.snapshots import snapshot
from tasks.resources import Resources, using
from tasks.upkeep import back_up, delete_provider_files, forget_old_files, unlearn_limits

FINAL = {"succeeded", "failed", "cancelled"}
JOBS = ("files", "more files", "hooks")
MODELS = ("gpt-4o-mini", "gpt-4.1")
SCENARIOS = (
    "ok", "error_lines:every=3,status=400", "error_lines:first=2,status=500,attempts=1",
    "dropped_lines:first=1", "duplicated_lines:every=2", "foreign_lines", "blank_lines",
    "unparseable_lines", "line_separators", "expires:at=0.5", "unlisted_rest",
    "cancelled_outside:at=0.5", "stuck:phase=in_progress", "stuck:phase=validating",
    "token_limit:times=2", "token_limit:as=400,times=1", "token_limit:as=429,times=1",
    "cannot_find_file:times=1", "dropped_create:batch=exists", "dropped_create:batch=never",
    "vanished:polls=2", "unknown_status:polls=2", "no_counts",
)  # fmt: skip
"""None of them bills a line without showing it: what is billed twice is the product's fault."""
CALL_SCENARIOS = (
    "failing_calls:call=any,times=3,status=500", "failing_calls:call=any,times=2,status=429",
    "dropped_calls:times=2", "cut_downloads:times=1", "cut_downloads:times=1,as=short",
    "missing_downloads:times=1",
)  # fmt: skip
LOOKS_OF_THE_DOCTOR = 4
"""After every so many deeds the doctor looks: it reads everything there is."""


class PipelineMachine(RuleBasedStateMachine):
    """Deeds of users, operators, the provider and time, and what must hold after each of them."""

    simulator: ClassVar[SimulatorProcess]
    receiver: ClassVar[WebReceiver]
    folder: ClassVar[Path]
    sums: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.name = secrets.token_hex(4)
        self.data = Path(mkdtemp(prefix=f"{self.name}-", dir=self.folder))
        self.directory = DataDirectory(self.data)
        self.settings = self._settings()
        self.submitted: dict[str, set[str]] = {job: set() for job in JOBS}
        self.retries: Counter[str] = Counter()
        self.files = self.deeds = 0
        self.clock_was_put_far = False
        self.may_have_forgotten = False
        self.flows = plain_flows() | {"upkeep": self._upkeep}
        self.stack = ExitStack()

    def _settings(self) -> Settings:
        return Settings(
            _env_file=None, openai_api_key=f"key-{self.name}", data_dir=self.data,
            openai_base_url=self.simulator.url, webhook_allow_private="true",
            file_stable_seconds=0, batch_max_wait_seconds=0, batch_max_requests=5,
            capacity_backoff_seconds=0.2, capacity_backoff_max_seconds=0.5,
            submit_proof_seconds=1, results_grace_seconds=3, lost_batch_seconds=3,
            create_timeout_seconds=5, file_not_found_seconds=1,
            poll_min_seconds=0.05, poll_max_seconds=0.05,
        )  # fmt: skip

    @initialize(files=st.lists(st.tuples(st.sampled_from(JOBS), st.integers(1, 12)), min_size=1))
    def begin(self, files: list[tuple[str, int]]) -> None:
        """Start with a clock that is right and a few files."""
        self.clock = self.stack.enter_context(put_clock())
        self.simulator.release()
        self.simulator.clear_scenarios()
        self.paid_twice = self.simulator.counters()["lines_paid_more_than_once"]
        self.running = ExitStack()
        self.restart()
        for job, count in files:
            self.drop_a_file(job, count, MODELS[0], repeated=False, broken=False)
        self.all_flows_run()

    @rule()
    def restart(self) -> None:
        """End the process, as far as that shows, and begin anew."""
        self.running.close()
        self.resources = Resources(self.settings, close_at_once=True)
        self.running.callback(self.resources.close)
        self.running.enter_context(using(self.resources))
        self.ledger = Ledger.open(self.resources.ledger.directory)

    # What users do --------------------------------------------------------------------------

    @rule(
        job=st.sampled_from(JOBS), count=st.integers(1, 7), model=st.sampled_from(MODELS),
        repeated=st.booleans(), broken=st.booleans(),
    )  # fmt: skip
    def drop_a_file(
        self, job: str, count: int, model: str, *, repeated: bool, broken: bool
    ) -> None:
        """Bring new requests, perhaps with one that the job has already, or with a broken line."""
        self.files += 1
        new = [f"{job} {self.files}-{number}" for number in range(count)]
        known = sorted(self.submitted[job]) if not self.may_have_forgotten else []
        ids = new + (known or new)[:1] * repeated
        lines = [json.dumps(self._request(custom_id, model)) for custom_id in ids]
        lines += ['{"custom_id": "cut off'] * broken
        side = {"label": job} | self._destination(job)
        inbox = self.data / "staging" / "inbox"
        (inbox / f"{self.files}.job.json").write_text(json.dumps(side))
        (inbox / f"{self.files}.jsonl").write_text("\n".join(lines) + "\n")
        self.submitted[job].update(new)
        self.sums["requests"] += count

    def _request(self, custom_id: str, model: str) -> dict[str, Any]:
        text = f"{self.name} asks {custom_id}"
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        url = "/v1/chat/completions"
        return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}

    def _destination(self, job: str) -> dict[str, Any]:
        if job != "hooks":
            return {}
        url = self.receiver.url(f"/{self.name}")
        return {"delivery_config": {"type": "webhook", "webhook_url": url}}

    # What operators do ----------------------------------------------------------------------

    @rule(job=st.sampled_from(JOBS))
    def cancel_a_job(self, job: str) -> None:
        if job in self._jobs():
            cancel_job(self.ledger, job, actor="model")

    @rule(job=st.sampled_from(JOBS), cancelled_too=st.booleans())
    def retry_a_job(self, job: str, *, cancelled_too: bool) -> None:
        if job in self._jobs():
            retry_job(self.ledger, job, cancelled_too=cancelled_too, actor="model")
            self.retries[job] += 1

    @rule(chance=st.randoms(use_true_random=False))
    def cancel_a_request(self, chance: Any) -> None:
        ids = sorted(custom_id for ids in self.submitted.values() for custom_id in ids)
        if ids:
            with self.ledger.transaction() as reader:
                found = requests_named(reader, chance.choice(ids))
            for request in found:
                cancel_request(self.ledger, request, actor="model")

    @rule(number=st.integers(1, 8))
    def cancel_a_batch(self, number: int) -> None:
        cancel_batch(self.ledger, number, actor="model")

    @rule(failed_only=st.booleans())
    def redeliver_everything(self, *, failed_only: bool) -> None:
        if "hooks" in self._jobs():
            redeliver(self.ledger, Selection(job="hooks"), failed_only=failed_only, actor="model")

    @rule(paused=st.booleans(), job=st.sampled_from(JOBS))
    def hold_a_job(self, *, paused: bool, job: str) -> None:
        hold_jobs(self.ledger, [job], paused=paused, actor="model")

    @rule(paused=st.booleans())
    def hold_all_lanes(self, *, paused: bool) -> None:
        hold_lanes(self.ledger, None, paused=paused, actor="model")

    # What the provider and time do ----------------------------------------------------------

    @rule(
        scenarios=st.lists(st.sampled_from(SCENARIOS), min_size=1, max_size=2, unique=True),
        batches=st.integers(1, 3),
    )
    def the_provider_fails(self, scenarios: list[str], batches: int) -> None:
        self.simulator.set_scenarios(*scenarios, next_batches=batches)
        self.sums["faults"] += 1

    @rule(scenario=st.sampled_from(CALL_SCENARIOS))
    def calls_fail(self, scenario: str) -> None:
        self.simulator.set_scenarios(scenario)
        self.sums["faults"] += 1

    @rule()
    def the_provider_recovers(self) -> None:
        self.simulator.clear_scenarios()
        self.simulator.release()

    @rule(hours=st.sampled_from([-24 * 365, -24, -1, -0.02, 0.02, 1, 24, 24 * 365]))
    def the_clock_is_put(self, hours: float) -> None:
        self.clock.put(hours=hours)
        self.clock_was_put_far |= abs(hours) > 24
        self.sums["faults"] += 1

    # What the pipeline does -----------------------------------------------------------------

    @rule(flow=st.sampled_from(["ingest", "submit", "track", "deliver"]))
    def a_flow_runs(self, flow: str) -> None:
        self.flows[flow]()

    @rule()
    def all_flows_run(self) -> None:
        for flow in ("ingest", "submit", "track", "deliver"):
            self.flows[flow]()

    @rule()
    @precondition(lambda self: self.files)
    def upkeep_runs(self) -> None:
        self.flows["upkeep"]()
        self.may_have_forgotten |= self.clock_was_put_far

    def _upkeep(self) -> None:
        forget_old_files.fn()
        back_up.fn()
        delete_provider_files.fn()
        unlearn_limits()

    # What must hold -------------------------------------------------------------------------

    @invariant()
    def conservation(self) -> None:
        """Every request is there once, in one state; nothing is paid for or delivered twice."""
        self.deeds += 1
        self.sums["deeds"] += 1
        rows = self._requests()
        self._demand_each_once(rows)
        states = Counter(row["state"] for row in rows)
        with snapshot(self.directory, max_age_seconds=0) as reader:
            assert requests_by_state(reader) == states
        assert self.simulator.counters()["lines_paid_more_than_once"] == self.paid_twice
        for job in JOBS[:2]:
            most = max(self._delivered(job).values(), default=0)
            assert most <= 1 + self.retries[job], f"a line of {job!r} is there {most} times"
        if self.deeds % LOOKS_OF_THE_DOCTOR == 0:
            self._ask_the_doctor()

    def _demand_each_once(self, rows: list[dict[str, Any]]) -> None:
        for job, wanted in self.submitted.items():
            ids = Counter(row["custom_id"] for row in rows if row["job"] == job)
            assert max(ids.values(), default=1) == 1, f"twice in {job!r}: {ids}"
            assert ids.keys() <= wanted
            if self._is_taken_in():
                missing = wanted - ids.keys()
                allowed = self._delivered(job).keys() if self.may_have_forgotten else set()
                assert missing <= allowed, f"lost from {job!r}: {missing - allowed}"
        for row in rows:
            assert row["state"] in FINAL | {"pending", "batched"}
            assert (row["state"] != "batched") or row["batch_id"] is not None

    def _requests(self) -> list[dict[str, Any]]:
        with self.ledger.transaction() as reader:
            return reader.rows(
                "SELECT name AS job, custom_id, state, batch_id, result_id, error_code "
                "FROM requests JOIN jobs USING (job_id)"
            )

    def _jobs(self) -> set[str]:
        with self.ledger.transaction() as reader:
            return {row["name"] for row in reader.rows("SELECT name FROM jobs")}

    def _is_taken_in(self) -> bool:
        folders = (self.directory.inbox, self.directory.claimed)
        return not any(path.suffix == ".jsonl" for folder in folders for path in folder.iterdir())

    def _delivered(self, job: str) -> Counter[str]:
        if job == "hooks":
            posts = [post for post in self.receiver.received() if post.path == f"/{self.name}"]
            return Counter(post.json["custom_id"] for post in posts)
        files = self.directory.outbox.rglob("results*.jsonl")
        lines = [
            line
            for path in files
            if path.name != "results.sorted.jsonl"
            for line in path.read_bytes().splitlines()
        ]
        found = Counter(json.loads(line)["custom_id"] for line in lines)
        return Counter({name: count for name, count in found.items() if name.startswith(f"{job} ")})

    def _ask_the_doctor(self) -> None:
        found = examine(self.directory, patience_seconds=0.0).findings
        assert found == (), found

    def teardown(self) -> None:
        """Let everything go on to its end: all is answered, delivered and well."""
        try:
            if hasattr(self, "running"):
                self._end_well()
        finally:
            if hasattr(self, "running"):
                self.running.close()
            self.stack.close()

    def _end_well(self) -> None:
        self.the_provider_recovers()
        hold_jobs(self.ledger, None, paused=False, actor="model")
        hold_lanes(self.ledger, None, paused=False, actor="model")
        cycles = Cycles(self.settings, threading.Event(), timeout_seconds=600)
        code = cycles.run(plain_flows())
        rows = self._requests()
        unfinished = [row for row in rows if row["state"] not in FINAL]
        assert code in {0, 3}, (code, unfinished)
        assert unfinished == []
        self.conservation()
        for job, wanted in self.submitted.items():
            assert self._delivered(job).keys() == wanted
        self._ask_the_doctor()
