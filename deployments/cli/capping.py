"""`obm cap`: how many tokens may be enqueued for a model at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from batching.errors import BadInput, ConfigurationError
from batching.settings import Settings
from batching.token_limits import read_tokens
from deployments.cli.steering import actor
from deployments.cli.surroundings import (
    data_directory,
    load_settings,
    out,
    print_json,
    reading,
    say,
)
from storage.ledger import Ledger, is_lost
from storage.reports.switches import token_caps_report
from storage.reports.terms import Terms
from storage.token_caps import reset_token_cap, set_token_cap


def show(*, as_json: bool) -> None:
    """Print the caps that were set, with their use now."""
    settings = load_settings()
    with reading(data_directory(settings)) as reader:
        caps = [] if reader is None else token_caps_report(reader, terms=Terms.of(settings))
    if as_json:
        print_json(caps)
    elif not caps:
        say("No cap is set: `obm cap set MODEL TOKENS` sets one.")
    else:
        out().print(_table(caps))


def set_cap(model: str, tokens: str) -> None:
    """Set a cap."""
    done = set_token_cap(_ledger(load_settings()), model, read_tokens(tokens), actor=actor())
    before = f" (before: {done.before:,})" if done.before is not None else ""
    say(
        f"At most {done.tokens:,} tokens are enqueued at a time for models that begin with "
        f"{done.model}{before}. `obm cap reset {done.model}` ends that."
    )
    if done.forgotten:
        say("A lower limit that the provider had named earlier is forgotten.")


def reset(model: str) -> None:
    """Take a cap away."""
    tokens = reset_token_cap(_ledger(load_settings()), model, actor=actor())
    if tokens is None:
        raise BadInput(f"no cap is set for {model!r}: `obm cap list` shows those that are")
    say(f"The cap of {tokens:,} tokens is gone.")


def _ledger(settings: Settings) -> Ledger:
    """Return the ledger, made if need be: a cap may be set before the first request comes."""
    directory = data_directory(settings)
    if is_lost(directory):
        raise ConfigurationError("the ledger is lost: `obm rebuild` makes it anew, then set caps")
    directory.create()
    return Ledger.open(directory, memory_bytes=settings.ledger_memory_bytes)


def _table(caps: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("model", "set by", "since", box=None, pad_edge=False)
    for name in ("cap", "lowered to", "in use"):
        table.add_column(name, justify="right")
    for cap in caps:
        lowered = f"{cap['lowered_to']:,}" if cap["lowered_to"] is not None else "-"
        table.add_row(
            cap["model"], cap["set_by"], f"{cap['set_at']:%Y-%m-%d %H:%M}", f"{cap['tokens']:,}",
            lowered, f"{cap['enqueued_tokens']:,}",
        )  # fmt: skip
    return table
