"""Our files at the provider, remembered so that they can be deleted when no longer needed."""

from collections.abc import Sequence

from storage.ledger import Ledger, Transaction, now


def record_provider_file(
    transaction: Transaction,
    file_id: str,
    *,
    account: str,
    batch_id: int,
    purpose: str,
    disposable: bool,
) -> None:
    """Remember a file at the provider, so that it can be deleted when it is no longer needed."""
    known = transaction.value("SELECT count(*) FROM provider_files WHERE file_id = ?", file_id)
    if not known:
        transaction.execute(
            "INSERT INTO provider_files VALUES (?, ?, ?, ?, ?, ?, NULL, 0)",
            file_id, account, batch_id, purpose, now(), disposable,
        )  # fmt: skip


def dispose_of_files(transaction: Transaction, batch_id: int) -> None:
    """Say that the batch's files at the provider are no longer needed."""
    transaction.execute("UPDATE provider_files SET disposable = true WHERE batch_id = ?", batch_id)


def uploads_of(reader: Transaction, batch_id: int) -> int:
    """Return how often the batch's input file has been uploaded."""
    return int(
        reader.value(
            "SELECT count(*) FROM provider_files WHERE batch_id = ? AND purpose = 'input'",
            batch_id,
        )
    )


def disposable_files(ledger: Ledger, account: str, *, most: int) -> Sequence[str]:
    """Return ids of files of the account that can be deleted at the provider."""
    with ledger.transaction() as reader:
        rows = reader.rows(
            "SELECT file_id FROM provider_files WHERE account = ? AND disposable "
            "AND deleted_at IS NULL AND failures < 10 ORDER BY recorded_at LIMIT ?",
            account, most,
        )  # fmt: skip
    return [row["file_id"] for row in rows]


def mark_files_deleted(
    ledger: Ledger, deleted: Sequence[str], *, failed: Sequence[str] = ()
) -> None:
    """Record which files are gone at the provider and which refused to go."""
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE provider_files SET deleted_at = ? WHERE list_contains(?, file_id)",
            now(), list(deleted),
        )  # fmt: skip
        transaction.execute(
            "UPDATE provider_files SET failures = failures + 1 WHERE list_contains(?, file_id)",
            list(failed),
        )
