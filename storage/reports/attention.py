"""What an operator should look at: each entry names its object, so that a page can link to it."""

from datetime import datetime, timedelta
from typing import Any, Final

from storage.ledger import Transaction

RECENT: Final = timedelta(days=7)
"""What has happened earlier is history."""
LONG_WAIT: Final = timedelta(hours=25)
"""A pending request that waits longer than a whole batch may take is worth a look."""
_MOST: Final = 100

_ATTENTION: Final = """
SELECT 1 AS rank, 'account_trouble' AS kind, 'account' AS entity, account AS entity_id,
    account AS subject, trouble AS text, NULL::BIGINT AS count, trouble_since AS since
FROM accounts WHERE trouble IS NOT NULL
UNION ALL
SELECT 2, 'batch_failed', 'batch', batch_id::VARCHAR, model,
    coalesce(fault_message, fault_code), batches.requests, finished_at
FROM batches JOIN lanes USING (lane_id) WHERE state = 'failed' AND finished_at > $1::TIMESTAMP
    AND coalesce(fault_code, '') <> 'taken_apart'
    AND (split_of IS NULL OR failed > 0)
UNION ALL
SELECT 3, 'destination_disabled', 'target', target, any_value(kind),
    any_value(disabled_because), count(*), min(disabled_at)
FROM destinations WHERE disabled_at IS NOT NULL GROUP BY target
UNION ALL
SELECT 4, 'dead_letters', 'target', target, any_value(kind), any_value(problem), sum(found),
    min(since)
FROM destinations JOIN (
    SELECT destination_id, count(*) AS found, any_value(problem) AS problem,
        min(finished_at) AS since
    FROM deliveries WHERE state = 'exhausted' GROUP BY destination_id) USING (destination_id)
GROUP BY target
UNION ALL
SELECT 5, 'destination_failing', 'target', target, kind, problem, NULL, failing_since
FROM targets WHERE failing_since IS NOT NULL AND target NOT IN
    (SELECT target FROM destinations WHERE disabled_at IS NOT NULL)
UNION ALL
SELECT 6, 'batch_retried', 'batch', batch_id::VARCHAR, model, fault_message, failures, not_before
FROM batches JOIN lanes USING (lane_id)
WHERE state NOT IN ('collected', 'failed', 'cancelled') AND failures > 0
UNION ALL
SELECT 7, 'batch_resubmitted', 'batch', batch_id::VARCHAR, model, provider_status, returned,
    finished_at
FROM batches JOIN lanes USING (lane_id)
WHERE state = 'collected' AND returned > 0 AND finished_at > $1::TIMESTAMP
UNION ALL
SELECT 8, 'source_rejected', 'source', source_id, any_value(name), any_value(reason),
    sum(rejected), max(taken_in_at)
FROM sources WHERE taken_in_at > $1::TIMESTAMP AND (rejected > 0 OR outcome = 'rejected')
GROUP BY source_id
UNION ALL
SELECT 9, 'oldest_waiting', 'lane', lane_id::VARCHAR, model, coalesce(wait_detail, wait_reason),
    waiting, oldest
FROM lanes JOIN (
    SELECT lane_id, count(*) AS waiting, min(accepted_at) AS oldest FROM requests
    WHERE state = 'pending' GROUP BY lane_id HAVING min(accepted_at) < $2::TIMESTAMP)
    USING (lane_id)
UNION ALL
SELECT 10, 'lane_waiting', 'lane', lane_id::VARCHAR, model, wait_detail, NULL, waiting_since
FROM lanes WHERE wait_reason IN ('backoff', 'budget')
UNION ALL
SELECT 11, 'lane_paused', 'lane', lane_id::VARCHAR, model, endpoint, NULL, NULL
FROM lanes WHERE paused
UNION ALL
SELECT 12, 'target_paused', 'target', target, kind, NULL, NULL, paused_at
FROM targets WHERE paused_at IS NOT NULL
UNION ALL
SELECT 13, 'job_paused', 'job', name, name, NULL, NULL, NULL FROM jobs WHERE paused
ORDER BY rank, since DESC NULLS LAST, entity_id LIMIT $3
"""


def attention_list(reader: Transaction, *, at: datetime, most: int = _MOST) -> list[dict[str, Any]]:
    """Return what needs an operator, the gravest first.

    Each has `kind`, `entity` and `entity_id` (what to link to), `subject`, `text`, `count` and
    `since`.
    """
    rows = reader.rows(_ATTENTION, at - RECENT, at - LONG_WAIT, most)
    return [{name: row[name] for name in row if name != "rank"} for row in rows]
