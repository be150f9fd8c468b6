"""What is offered for a batch."""

import pytest
from factories import Store, chat_lines
from looks import Looker

from batching.lifecycle import BatchState
from storage.endings import Ending, fail_requests
from storage.splitting import split_batch

REFUSED = Ending(code="model_not_found", reason="there is no such model")


@pytest.mark.parametrize("in_pieces", [True, False])
def test_only_a_batch_in_which_something_failed_can_be_restarted(
    store: Store, *, in_pieces: bool
) -> None:
    store.take_in(chat_lines(4))
    batch = store.bring_to(store.claim(), BatchState.UPLOADED)
    with store.ledger.transaction() as transaction:
        if in_pieces:
            split_batch(transaction, batch, REFUSED, pieces=2)
        else:
            fail_requests(transaction, batch, REFUSED, request_code="obm_batch_refused")

    looker = Looker(store.directory)
    for address, tile in (("/ui/batches?tab=attention", "rows"), ("/ui/batches/1", "whole")):
        assert ('data-act="restart"' in looker.tile(address, tile)) is not in_pieces
        assert "Failed" in looker.tile(address, tile)
