"""SIGKILL at any moment, then start again: nothing lost, nothing bought or delivered twice."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REQUESTS = 300
KILLS = 12
PIPELINE = Path(__file__).parent.parent / "plain_pipeline.py"


def environment_of(installation: Any) -> dict[str, str]:
    settings = installation.settings
    return os.environ | {
        "OPENAI_API_KEY": settings.openai_api_key.get_secret_value(),
        "OPENAI_BASE_URL": settings.openai_base_url,
        "OBM_DATA_DIR": str(installation.data),
        "OBM_FILE_STABLE_SECONDS": "0",
        "OBM_POLL_MIN": "0.05",
        "OBM_POLL_MAX": "0.05",
        "OBM_SUBMIT_PROOF_SECONDS": "2",
        "OBM_BATCH_MAX_REQUESTS": "60",
        "OBM_CAPACITY_BACKOFF": "0.2",
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments_lose_nothing_and_buy_nothing_twice(
    seed: int, installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    requests = [
        chat(f"kill-{seed}-{number}", model=chance.choice(["gpt-4o-mini", "gpt-4.1"]))
        for number in range(REQUESTS)
    ]
    installation.simulator.set_scenarios("error_lines:every=50,status=500,attempts=1")
    before = installation.simulator.counters()
    installation.drop("first.jsonl", requests[: REQUESTS // 2])
    installation.drop("second.jsonl", requests[REQUESTS // 2 :])
    command = [sys.executable, "-W", "ignore", str(PIPELINE)]
    environment = environment_of(installation)

    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=chance.uniform(1.0, 3.5))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finished = subprocess.run(command, env=environment, timeout=100, check=False)

    assert finished.returncode == 0
    after = installation.simulator.counters()
    assert installation.states == {"succeeded": REQUESTS}
    for job, part in (("first", requests[:150]), ("second", requests[150:])):
        wanted = [request["custom_id"] for request in part]
        assert Counter(r["custom_id"] for r in installation.results(job)) == Counter(wanted)
        ordered = installation.results(job, "results.sorted.jsonl")
        assert [result["custom_id"] for result in ordered] == wanted
    assert after["lines_paid"] - before["lines_paid"] == REQUESTS
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
