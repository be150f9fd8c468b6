"""The token limits that lanes have learned, and how an operator lets one be learned anew."""

from storage.ledger import Ledger, Transaction


def forget_learned_limit(ledger: Ledger, lane_id: int, *, actor: str) -> int | None:
    """Forget what the provider taught a lane, and its pause; return the limit, None if none.

    After that the published limit counts, or none, until the provider refuses again.
    """
    with ledger.transaction() as transaction:
        return forget_in(transaction, lane_id, actor=actor)


def forget_in(transaction: Transaction, lane_id: int, *, actor: str) -> int | None:
    """Forget what a lane has learned as part of a transaction; return the limit, None if none."""
    learned = transaction.value("SELECT learned_limit FROM lanes WHERE lane_id = ?", lane_id)
    if learned is None:
        return None
    transaction.execute(
        "UPDATE lanes SET learned_limit = NULL, learned_at = NULL, cautious_tokens = NULL, "
        "refusals = 0, backoff_until = NULL WHERE lane_id = ?",
        lane_id,
    )
    # The batches that it kept out would wait for the end of its pause all the same.
    transaction.execute(
        "UPDATE batches SET not_before = NULL WHERE lane_id = ? AND state = 'uploaded' "
        "AND token_refusals > 0",
        lane_id,
    )
    transaction.record_move(
        "lane", lane_id, "limit_forgotten", actor=actor,
        reason=f"{learned:,} tokens had been learned",
    )  # fmt: skip
    return int(learned)
