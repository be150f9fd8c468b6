"""When the configured account changes: what was not sent goes to the new one.

What the old account has already got stays its own: nobody else can look at it or pay for it.
"""

from batching.failure_policy import RetryLimits
from batching.lifecycle import BatchState
from storage.batches import read_batches
from storage.endings import Ending, return_requests
from storage.ledger import Ledger, Transaction

_PENDING_ELSEWHERE = """
FROM requests JOIN lanes USING (lane_id)
WHERE state = 'pending' AND lanes.account <> ?
"""


def unsent_elsewhere(reader: Transaction, account: str) -> bool:
    """Return whether requests or planned batches wait for another account than this."""
    planned = (
        "FROM batches JOIN lanes USING (lane_id) WHERE state = 'planned' AND lanes.account <> ?"
    )
    return bool(
        reader.value(f"SELECT count(*) {_PENDING_ELSEWHERE}", account)
        or reader.value(f"SELECT count(*) {planned}", account)
    )


def bring_unsent(ledger: Ledger, account: str, *, limits: RetryLimits) -> int:
    """Let everything that was not sent wait for this account; return how many requests."""
    with ledger.transaction() as transaction:
        if not unsent_elsewhere(transaction, account):
            return 0
        ending = Ending(code="account_changed", reason=f"the account is now {account}")
        for batch in read_batches(transaction, BatchState.PLANNED):
            if batch.account != account:
                return_requests(transaction, batch, ending, limits=limits)
        _begin_lanes(transaction, account)
        return transaction.execute(
            """
            UPDATE requests SET lane_id = ours.lane_id
            FROM lanes AS theirs JOIN lanes AS ours
                ON ours.account = $1 AND ours.endpoint = theirs.endpoint
                AND ours.model = theirs.model
            WHERE requests.lane_id = theirs.lane_id AND requests.state = 'pending'
                AND theirs.account <> $1
            """,
            account,
        )


def _begin_lanes(transaction: Transaction, account: str) -> None:
    transaction.execute(
        f"""
        INSERT INTO lanes
        SELECT (SELECT max(lane_id) FROM lanes) + row_number() OVER (ORDER BY endpoint, model),
            $1, endpoint, model, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, false
        FROM (SELECT DISTINCT endpoint, model {_PENDING_ELSEWHERE.replace("?", "$1")}) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM lanes WHERE lanes.account = $1
                AND lanes.endpoint = wanted.endpoint AND lanes.model = wanted.model)
        """,
        account,
    )
