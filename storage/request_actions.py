"""What operators do to one request."""

from typing import Any

from batching.lifecycle import RequestState
from storage.jobs import carry_out_cancel_wishes
from storage.ledger import Ledger, now


def cancel_request(ledger: Ledger, request: dict[str, Any], *, actor: str) -> RequestState | None:
    """Cancel a request, or record the wish if it is in a batch; return its state after that.

    None if it is forgotten meanwhile. A request that has ended stays as it is.
    """
    place = (request["segment"], request["row_index"])
    with ledger.transaction() as transaction:
        changed = transaction.execute(
            "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
            "finished_at = ? WHERE segment = ? AND row_index = ? AND state = 'pending'",
            now(), *place,
        ) + transaction.execute(
            "UPDATE requests SET cancel_requested = true WHERE segment = ? AND row_index = ? "
            "AND state = 'batched' AND NOT cancel_requested",
            *place,
        )  # fmt: skip
        if changed:
            carry_out_cancel_wishes(transaction, actor=actor)
            transaction.record_move("request", request["id"], "cancel_requested", actor=actor)
        state = transaction.value(
            "SELECT state FROM requests WHERE segment = ? AND row_index = ?", *place
        )
    return None if state is None else RequestState(state)
