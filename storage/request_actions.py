"""What operators do to one request."""

from typing import Any

from batching.destinations import (
    Reach,
    canonical_json,
    parse_destination,
    read_destination,
    shown_text,
)
from batching.errors import BadInput
from batching.lifecycle import RequestState
from storage.action_outcomes import ActionOutcome, outcome
from storage.destinations import ensure_destinations
from storage.jobs import carry_out_cancel_wishes
from storage.ledger import Ledger, Transaction, now


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


def edit_destination(
    ledger: Ledger, request: dict[str, Any], config: object, *, reach: Reach, actor: str
) -> ActionOutcome:
    """Send the result of a request elsewhere; the next attempt goes there.

    BadInput says what is wrong with the destination. A result that is delivered, given up or in
    a file already stays where it is, and `skipped` says so.
    """
    destination = read_destination(config)
    problem = reach.why_not(destination)
    if problem is not None:
        raise BadInput(problem)
    text, place = canonical_json(destination), (request["segment"], request["row_index"])
    with ledger.transaction() as transaction:
        why_not = _why_it_stays(transaction, place, text)
        if why_not is None:
            _move_to(transaction, place, text)
            transaction.record_move(
                "request", request["id"], "destination_changed", actor=actor,
                reason=f"from {shown_text(request['delivery_config'])} to {shown_text(text)}",
            )  # fmt: skip
    return outcome(ledger, int(why_not is None), skipped={why_not: 1} if why_not else {})


def _move_to(transaction: Transaction, place: tuple[int, int], config: str) -> None:
    ensure_destinations(transaction, [config])
    number = transaction.value(
        "SELECT min(destination_id) FROM destinations WHERE config = ?", config
    )
    transaction.execute(
        "UPDATE requests SET destination_id = ? WHERE segment = ? AND row_index = ?",
        number, *place,
    )  # fmt: skip
    transaction.execute(
        "UPDATE deliveries SET destination_id = ? WHERE segment = ? AND row_index = ? "
        "AND state IN ('pending', 'exhausted')",
        number, *place,
    )  # fmt: skip


def _why_it_stays(transaction: Transaction, place: tuple[int, int], config: str) -> str | None:
    """Return why a request's destination cannot be changed now, None if it can."""
    found = transaction.row(
        """
        SELECT requests.state, requests.result_id, batches.state AS batch_state,
            deliveries.state AS delivery_state, config, kind
        FROM requests JOIN destinations ON destinations.destination_id = requests.destination_id
        LEFT JOIN batches USING (batch_id)
        LEFT JOIN deliveries ON deliveries.segment = requests.segment
            AND deliveries.row_index = requests.row_index
            AND deliveries.result_id = requests.result_id
        WHERE requests.segment = ? AND requests.row_index = ?
        """,
        *place,
    )
    if found is None:
        return "there is no such request (any more)"
    has_result = found["result_id"] is not None
    is_file = "file" in {found["kind"], parse_destination(config).type}
    reasons = {
        "it goes there already": found["config"] == config,
        "its result is being collected at this moment: try again in a minute":
            found["state"] == "batched" and found["batch_state"] == "ended",
        "its result is recorded already: it can no longer move between files and pushes":
            has_result and is_file,
        f"its delivery is {found['delivery_state']}":
            has_result and found["delivery_state"] not in {"pending", "exhausted"},
    }  # fmt: skip
    return next((reason for reason, holds in reasons.items() if holds), None)
