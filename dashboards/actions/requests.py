"""What operators do to requests."""

from collections.abc import Mapping

from batching.destinations import Reach
from dashboards.actions.telling import told
from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.bulk_requests import cancel_requests, redeliver_requests, retry_requests
from storage.ledger import Ledger
from storage.request_actions import edit_destination
from storage.request_filter import RequestFilter


def cancel(wanted: RequestFilter) -> Deed:
    """Return the deed of cancelling requests: at once where they wait, else with their batch."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = cancel_requests(ledger, wanted, actor=actor)
        at_once = found.changed - found.later
        done = [f"{count_of(at_once, 'request')} cancelled."] if at_once else []
        if found.later:
            done.append(
                f"{count_of(found.later, 'request')} in a batch: cancel requested, a result that "
                "still comes is kept."
            )
        return told(found, done)

    return deed


def run_again(wanted: RequestFilter) -> Deed:
    """Return the deed of sending failed and cancelled requests again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = retry_requests(ledger, wanted, actor=actor)
        verb = "goes" if found.changed == 1 else "go"
        return told(found, [f"{count_of(found.changed, 'request')} {verb} into a new batch."])

    return deed


def redeliver(wanted: RequestFilter, *, delivered_too: bool) -> Deed:
    """Return the deed of bringing results again: those given up, or delivered ones as well."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = redeliver_requests(ledger, wanted, failed_only=not delivered_too, actor=actor)
        return told(found, [f"{count_of(found.changed, 'result')} on the way again."])

    return deed


def edit_delivery(request: Mapping[str, object], config: object, *, reach: Reach) -> Deed:
    """Return the deed of sending the result of one request elsewhere."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = edit_destination(ledger, dict(request), config, reach=reach, actor=actor)
        return told(found, ["The delivery is changed: the next attempt goes there."])

    return deed
