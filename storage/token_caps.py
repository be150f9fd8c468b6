"""How many tokens operators let be enqueued for a model: caps by the beginning of its name."""

from collections.abc import Mapping
from dataclasses import dataclass

from batching.errors import BadInput
from batching.token_limits import MOST_TOKENS, cap_of, read_model_prefix
from storage.directory import DataDirectory
from storage.inquiries import check_schema
from storage.lane_limits import forget_in
from storage.ledger import Ledger, Transaction, now
from storage.snapshots import snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class CapChange:
    """What setting a cap has changed."""

    model: str
    """The beginning of the names that it counts for."""
    tokens: int
    before: int | None
    """The cap that was set there before."""
    forgotten: int
    """How many lanes have forgotten a learned limit that was below it."""


def read_token_caps(reader: Transaction) -> dict[str, int]:
    """Return the caps that operators have set, by the beginning of a model's name."""
    rows = reader.rows("SELECT model, tokens FROM token_caps")
    return {row["model"]: row["tokens"] for row in rows}


def token_caps_in(directory: DataDirectory) -> Mapping[str, int]:
    """Return the caps of a data directory, none while it has no ledger."""
    if not directory.ledger.exists():
        return {}
    with snapshot(directory, max_age_seconds=1.0) as reader:
        check_schema(reader)
        return read_token_caps(reader)


def set_token_cap(ledger: Ledger, model: str, tokens: int, *, actor: str) -> CapChange:
    """Let so many tokens be enqueued for models of this name or beginning; BadInput if faulty.

    A lower limit that was learned earlier is forgotten: who sets a cap knows of it. One that the
    provider names from now on lowers the cap.
    """
    prefix = read_model_prefix(model)
    if not 0 < tokens <= MOST_TOKENS:
        raise BadInput(f"{tokens:,} is no cap: it is from 1 to {MOST_TOKENS:,} tokens")
    with ledger.transaction() as transaction:
        before = read_token_caps(transaction).get(prefix)
        transaction.execute("DELETE FROM token_caps WHERE model = ?", prefix)
        transaction.execute(
            "INSERT INTO token_caps VALUES (?, ?, ?, ?)", prefix, tokens, now(), actor
        )
        told = f"{tokens:,} tokens" + (f", before {before:,}" if before is not None else "")
        transaction.record_move("token_cap", prefix, "set", actor=actor, reason=told)
        below = _learned_below(transaction, prefix, tokens)
        for lane_id in below:
            forget_in(transaction, lane_id, actor=actor)
    return CapChange(model=prefix, tokens=tokens, before=before, forgotten=len(below))


def reset_token_cap(ledger: Ledger, model: str, *, actor: str) -> int | None:
    """Take a cap away and return it, None if there is none; the environment's limit counts again.

    The name is the one that the cap was set for, not a model that it counts for.
    """
    prefix = model.strip().lower()
    with ledger.transaction() as transaction:
        tokens = read_token_caps(transaction).get(prefix)
        if tokens is None:
            return None
        transaction.execute("DELETE FROM token_caps WHERE model = ?", prefix)
        told = f"{tokens:,} tokens had been set"
        transaction.record_move("token_cap", prefix, "reset", actor=actor, reason=told)
    return tokens


def _learned_below(reader: Transaction, prefix: str, tokens: int) -> list[int]:
    caps = read_token_caps(reader)
    rows = reader.rows(
        "SELECT lane_id, model FROM lanes WHERE learned_limit < ? ORDER BY lane_id", tokens
    )
    return [row["lane_id"] for row in rows if cap_of(row["model"], caps) == prefix]
