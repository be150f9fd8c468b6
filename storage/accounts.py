"""Accounts: whether the provider lets them work."""

from datetime import timedelta
from typing import Any

from storage.ledger import Ledger, Transaction, now

FIRST_PROBE_SECONDS = 60.0


def record_trouble(ledger: Ledger, account: str, trouble: str) -> bool:
    """Stop every lane of the account until a probe succeeds; return whether that is news."""
    with ledger.transaction() as transaction:
        known = transaction.value("SELECT trouble FROM accounts WHERE account = ?", account)
        probe = now() + timedelta(seconds=FIRST_PROBE_SECONDS)
        if known is not None:
            transaction.execute(
                "UPDATE accounts SET next_probe_at = ? WHERE account = ?", probe, account
            )
            return False
        transaction.execute("DELETE FROM accounts WHERE account = ?", account)
        transaction.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, ?)", account, trouble, now(), probe
        )
        transaction.record_move("account", account, "refused", reason=trouble)
        return True


def postpone_probe(ledger: Ledger, account: str) -> None:
    """Try the stopped account again later: the provider did not answer this time."""
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE accounts SET next_probe_at = ? WHERE account = ? AND trouble IS NOT NULL",
            now() + timedelta(seconds=FIRST_PROBE_SECONDS), account,
        )  # fmt: skip


def end_trouble(ledger: Ledger, account: str) -> bool:
    """Let the account's lanes work again; return whether they were stopped."""
    with ledger.transaction() as transaction:
        ended = transaction.execute(
            "UPDATE accounts SET trouble = NULL, trouble_since = NULL, next_probe_at = NULL "
            "WHERE account = ? AND trouble IS NOT NULL",
            account,
        )
        if ended:
            transaction.record_move("account", account, "working")
        return bool(ended)


def trouble_of(reader: Transaction, account: str) -> str | None:
    """Return what is wrong with the account, or None."""
    found = reader.value("SELECT trouble FROM accounts WHERE account = ?", account)
    return str(found) if found is not None else None


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
            "SELECT count(*) FROM accounts WHERE account = ? AND trouble IS NOT NULL "
            "AND next_probe_at <= ?",
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
