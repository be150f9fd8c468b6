"""`obm rebuild`: a new ledger from the files of the data directory."""

from typing import Any

from batching.errors import ConfigurationError
from deployments.cli.surroundings import data_directory, load_settings, print_json, say
from storage.rebuilding.new_ledger import Rebuilt, rebuild_ledger
from tasks.resources import Resources


def rebuild(*, force: bool, as_json: bool) -> None:
    """Make a new ledger and say what it was made of."""
    settings = load_settings()
    directory = data_directory(settings)
    if not any(directory.segments.glob("*.parquet")):
        raise ConfigurationError(
            f"there are no segments in {directory.segments}, so no ledger can be made of them: put "
            "the data directory back first, or set OBM_DATA_DIR to it"
        )
    found = rebuild_ledger(
        directory,
        force=force,
        account=settings.account,
        cost_of=Resources(settings).cost_of,
        memory_bytes=settings.ledger_memory_bytes,
    )
    if as_json:
        print_json(_as_json(found))
        return
    learned = found.caught_up
    if found.put_aside is not None:
        say(f"The ledger that was there is kept as {found.put_aside}.")
    say(
        f"{directory.ledger} was made anew: {learned.requests:,} requests, of which "
        f"{learned.results:,} are answered; {learned.delivered_parts:,} parts of results stand in "
        f"the outbox already; {learned.batches:,} batches may be under way at the provider."
    )
    say(
        "Nothing is sent until a sweep of the account has adopted them: `obm sweep` does it now, "
        "`obm up` and `obm run` do it first of all.",
        style="yellow",
    )


def _as_json(found: Rebuilt) -> dict[str, Any]:
    learned = found.caught_up
    return {
        "put_aside": found.put_aside,
        "requests": learned.requests,
        "answered": learned.results,
        "delivered_parts": learned.delivered_parts,
        "batches_under_way": learned.batches,
        "submission_locked": True,
    }
