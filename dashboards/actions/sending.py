"""What people do to send requests: one, a few made-up ones, or a file that waits."""

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from batching.destinations import Reach
from batching.errors import BadInput
from batching.jobs import read_job_settings
from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.directory import DataDirectory
from storage.held_actions import discard_on_record, start_on_record
from storage.held_files import StartedFile
from storage.intake_gate import read_pause
from storage.ledger import Ledger
from storage.written_requests import hold_requests, put_requests

Led = Callable[[str], None]
"""Is told the id or the name of what was made, to lead there."""
FIRST_MODEL: Final = "gpt-4o-mini"
NAMED: Final = "named:"
_URL: Final = "/v1/chat/completions"
_LONGEST_PROMPT: Final = 100_000
_QUESTIONS: Final = (
    "Explain photosynthesis to a child.", "Translate “good morning” into five languages.",
    "Write a haiku about autumn.", "What is the capital of Australia?",
    "Summarise the rules of chess in three sentences.", "Name three uses of beeswax.",
    "Why is the sky blue?", "Give a recipe for pancakes.", "What does HTTP 429 mean?",
    "Invent a name for a bakery.",
)  # fmt: skip


def send_one(
    directory: DataDirectory, *, model: str, prompt: str, job: str, made: Led
) -> Deed:  # fmt: skip
    """Return the deed of sending one chat request; `made` is told its job."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        del ledger, actor
        _check_intake(directory)
        line = chat_line(f"web-{secrets.token_hex(5)}", _model(model), _prompt(prompt))
        name = f"{_stamp('one')}.jsonl"
        label = job.strip() or "dashboard"
        put_requests(directory, [line], name=name, side_settings={"label": label})
        made(label)
        return Outcome(text=f"The request is stored; it belongs to the job {label}.")

    return deed


def write_samples(directory: DataDirectory, *, model: str, count: int, made: Led) -> Deed:
    """Return the deed of writing a file of made-up requests that waits; `made` is told its id."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        del ledger, actor
        _check_intake(directory)
        chosen, name = _model(model), _stamp("sample")
        lines = (
            chat_line(f"{name}-{number}", chosen, _QUESTIONS[number % len(_QUESTIONS)])
            for number in range(1, count + 1)
        )
        held = hold_requests(directory, lines, name=f"{name}.jsonl", side_settings={})
        made(held.held)
        return Outcome(text=f"{count_of(count, 'sample request')} written; nothing is sent yet.")

    return deed


def start(
    directory: DataDirectory,
    held: str,
    *,
    again: bool,
    made: Callable[[StartedFile], None],
    side_settings: Mapping[str, Any] | None = None,
) -> Deed:
    """Return the deed of taking in a file that waits; `made` is told what became of it."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        _check_intake(directory)
        started = start_on_record(
            directory, held, again=again, actor=actor, ledger=lambda: ledger,
            side_settings=side_settings,
        )  # fmt: skip
        if started is None:
            raise BadInput("the file does not wait any more: it was started or discarded")
        made(started)
        if started.duplicate:
            text = f"Nothing was done: {started.job} has taken in the same content before."
            return Outcome(text=text, tone="info")
        return Outcome(text=f"{started.file} is on its way.")

    return deed


def chosen_settings(job: str, destination: str, reach: Reach) -> dict[str, Any]:
    """Return what somebody has chosen for a file as a side file says it; BadInput if it cannot be.

    The destination is "", which leaves it as it is, "file", or `named:` with its name.
    """
    found: dict[str, Any] = {"label": job.strip()} if job.strip() else {}
    if destination:
        name, is_named = destination.removeprefix(NAMED), destination.startswith(NAMED)
        found["delivery_config"] = {"type": "named", "name": name} if is_named else {"type": "file"}
    settings = read_job_settings(json.dumps(found).encode())
    if settings.delivery_config is not None:
        problem = reach.why_not(settings.delivery_config)
        if problem is not None:
            raise BadInput(problem)
    return found


def discard(directory: DataDirectory, held: str) -> Deed:
    """Return the deed of deleting a file that waits."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        if not discard_on_record(directory, held, actor=actor, ledger=lambda: ledger):
            return Outcome(text="The file does not wait any more.", tone="info")
        return Outcome(text="The file is deleted; nothing of it was sent.")

    return deed


def chat_line(custom_id: str, model: str, prompt: str) -> bytes:
    """Return a request line that asks a chat model."""
    body: dict[str, Any] = {
        "model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 300,
    }  # fmt: skip
    line = {"custom_id": custom_id, "method": "POST", "url": _URL, "body": body}
    return json.dumps(line, ensure_ascii=False).encode()


def _check_intake(directory: DataDirectory) -> None:
    pause = read_pause(directory)
    if pause is not None:
        raise BadInput(f"intake is paused by {pause.actor}: resume it first")


def _model(text: str) -> str:
    model = text.strip()
    if not model or not model.isprintable():
        raise BadInput("say which model shall answer")
    return model


def _prompt(text: str) -> str:
    prompt = text.strip()
    if not prompt:
        raise BadInput("say what the model shall answer to")
    if len(prompt) > _LONGEST_PROMPT:
        raise BadInput(f"the prompt is longer than {_LONGEST_PROMPT:,} characters: send a file")
    return prompt


def _stamp(kind: str) -> str:
    return f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
