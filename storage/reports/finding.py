"""What is called by a text that somebody has at hand: an id, or the name of a job."""

from typing import Any, Final

from storage.ledger import Transaction
from storage.request_queries import requests_named

_MOST: Final = 20


def things_called(reader: Transaction, text: str) -> list[dict[str, Any]]:
    """Return what has exactly this name: each with `kind`, `id` and what it belongs to.

    Kinds are batch (our number, or an id at the provider), job and request (its custom_id).
    """
    return [
        *reader.rows(
            "SELECT DISTINCT 'batch' AS kind, batch_id::VARCHAR AS id, model AS belongs_to, state "
            "FROM batches JOIN lanes USING (lane_id) WHERE batch_id::VARCHAR = $1 "
            "OR provider_id = $1 OR batch_id IN "
            "(SELECT batch_id FROM creates WHERE provider_id = $1) ORDER BY id LIMIT $2",
            text, _MOST,
        ),
        *reader.rows(
            "SELECT 'job' AS kind, name AS id, 'job' AS belongs_to, "
            "CASE WHEN completed_at IS NULL THEN 'running' ELSE 'complete' END AS state "
            "FROM jobs WHERE name = $1",
            text,
        ),
        *(
            {"kind": "request", "id": row["id"], "belongs_to": row["job"], "state": row["state"]}
            for row in requests_named(reader, text)[:_MOST]
        ),
    ]  # fmt: skip
