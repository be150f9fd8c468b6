"""Accounts: whether the provider lets them work."""

from datetime import datetime, timedelta
from typing import Any

from batching.outcomes import Proof
from batching.retry import growing_pause_seconds
from storage.ledger import Ledger, Transaction, now
from storage.waits import is_due_sql

FIRST_PROBE_SECONDS = 60.0
LONGEST_PROBE_SECONDS = 3_600.0


def record_trouble(
    ledger: Ledger,
    account: str,
    trouble: str,
    *,
    proof: Proof = Proof.ANSWER,
    batch_id: int | None = None,
) -> bool:
    """Stop every lane of the account, as `record_trouble_in` does; return whether that is news."""
    with ledger.transaction() as transaction:
        return record_trouble_in(transaction, account, trouble, proof=proof, batch_id=batch_id)


def record_trouble_in(
    transaction: Transaction,
    account: str,
    trouble: str,
    *,
    proof: Proof = Proof.ANSWER,
    batch_id: int | None = None,
) -> bool:
    """Stop every lane of the account; return whether that is news.

    `proof` is what shows later that it works again, `batch_id` the batch that met the trouble:
    if that was the probe, the next one is made later.
    """
    known = transaction.row(
        "SELECT probes, proof, probe_batch_id FROM accounts "
        "WHERE account = ? AND trouble IS NOT NULL",
        account,
    )
    if known is None:
        transaction.execute("DELETE FROM accounts WHERE account = ?", account)
        transaction.execute(
            "INSERT INTO accounts (account, trouble, trouble_since, next_probe_at, proof, probes) "
            "VALUES (?, ?, ?, ?, ?, 0)",
            account, trouble, now(), _next_probe(0), proof,
        )  # fmt: skip
        transaction.record_move("account", account, "refused", reason=trouble)
        return True
    failed = known["probe_batch_id"] is not None and known["probe_batch_id"] == batch_id
    probes = (known["probes"] or 0) + failed
    transaction.execute(
        "UPDATE accounts SET proof = ?, probes = ?, next_probe_at = ?, "
        "probe_batch_id = CASE WHEN ? THEN NULL ELSE probe_batch_id END WHERE account = ?",
        proof.stronger(Proof(known["proof"] or Proof.ANSWER)), probes, _next_probe(probes), failed,
        account,
    )  # fmt: skip
    return False


def postpone_probe(ledger: Ledger, account: str, *, failed: bool = False) -> None:
    """Try the stopped account again later; after each failed probe, later."""
    with ledger.transaction() as transaction:
        probes = transaction.value("SELECT probes FROM accounts WHERE account = ?", account) or 0
        transaction.execute(
            "UPDATE accounts SET next_probe_at = ?, probes = ? "
            "WHERE account = ? AND trouble IS NOT NULL",
            _next_probe(probes + failed), probes + failed, account,
        )  # fmt: skip


def _next_probe(probes: int) -> datetime:
    pause_seconds = growing_pause_seconds(
        probes + 1, first_seconds=FIRST_PROBE_SECONDS, longest_seconds=LONGEST_PROBE_SECONDS
    )
    return now() + timedelta(seconds=pause_seconds)


def end_trouble(ledger: Ledger, account: str) -> bool:
    """Let the account's lanes work again; return whether they were stopped."""
    with ledger.transaction() as transaction:
        return _end_trouble_in(transaction, account)


def prove_in(transaction: Transaction, batch_id: int, proof: Proof) -> bool:
    """End the account's trouble if the batch is its probe and shows enough; return whether.

    Only the probe shows that the account may buy again: others were bought before.
    """
    found = transaction.row(
        "SELECT account, proof FROM accounts WHERE probe_batch_id = ? AND trouble IS NOT NULL",
        batch_id,
    )
    if found is None or proof.stronger(Proof(found["proof"] or Proof.ANSWER)) is not proof:
        return False
    return _end_trouble_in(transaction, found["account"])


def prove(ledger: Ledger, batch_id: int, proof: Proof) -> bool:
    """End the account's trouble if the batch is its probe and shows enough; return whether."""
    with ledger.transaction() as transaction:
        return prove_in(transaction, batch_id, proof)


def prove_visible_in(transaction: Transaction, account: str) -> None:
    """End the trouble of an account of which nothing was visible: something is."""
    if proof_wanted(transaction, account) is Proof.VISIBLE:
        _end_trouble_in(transaction, account)


def _end_trouble_in(transaction: Transaction, account: str) -> bool:
    ended = transaction.execute(
        "UPDATE accounts SET trouble = NULL, trouble_since = NULL, next_probe_at = NULL, "
        "proof = NULL, probes = 0, probe_batch_id = NULL "
        "WHERE account = ? AND trouble IS NOT NULL",
        account,
    )
    if ended:
        transaction.record_move("account", account, "working")
    return bool(ended)


def proof_wanted(reader: Transaction, account: str) -> Proof:
    """Return what shows that the stopped account works again."""
    found = reader.value("SELECT proof FROM accounts WHERE account = ?", account)
    return Proof(found or Proof.ANSWER)


def live_probe(reader: Transaction, account: str) -> int | None:
    """Return the batch with which the stopped account is being tried, if there is one."""
    found = reader.value(
        "SELECT probe_batch_id FROM accounts JOIN batches ON batch_id = probe_batch_id "
        "WHERE account = ? AND trouble IS NOT NULL "
        "AND state NOT IN ('collected', 'failed', 'cancelled')",
        account,
    )
    return None if found is None else int(found)


def trouble_of(reader: Transaction, account: str) -> str | None:
    """Return what is wrong with the account, or None."""
    found = reader.value("SELECT trouble FROM accounts WHERE account = ?", account)
    return str(found) if found is not None else None


def refuses_everything(reader: Transaction, account: str) -> str | None:
    """Return what is wrong with the account if not even its batches can be looked at, or None."""
    blind = proof_wanted(reader, account) in (Proof.ANSWER, Proof.VISIBLE)
    return trouble_of(reader, account) if blind else None


def troubles(reader: Transaction) -> list[dict[str, Any]]:
    """Return the accounts that the provider does not let work, with what it said."""
    return reader.rows(
        "SELECT account, trouble, trouble_since AS since FROM accounts "
        "WHERE trouble IS NOT NULL ORDER BY account"
    )


def probe_is_due(reader: Transaction, account: str) -> bool:
    """Return whether the account is stopped and it is time to try it again."""
    return bool(
        reader.value(
            "SELECT count(*) FROM accounts WHERE account = $1 AND trouble IS NOT NULL "
            f"AND {is_due_sql('next_probe_at', '$2', longest_seconds=LONGEST_PROBE_SECONDS)}",
            account,
            now(),
        )
    )


def make_probes_due(ledger: Ledger) -> None:
    """Let stopped accounts be tried at once: an operator has started us again."""
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE accounts SET next_probe_at = ? WHERE trouble IS NOT NULL", now()
        )
