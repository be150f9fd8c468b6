"""An account that the provider refuses: it is stopped once, told once, and tried again."""

import logging

from batching.outcomes import Proof
from storage.accounts import record_trouble
from tasks.resources import resources

logger = logging.getLogger(__name__)


def stop_account(
    account: str, trouble: str, *, proof: Proof = Proof.ANSWER, batch_id: int | None = None
) -> None:
    """Stop every lane of the account until `proof` is given; tell it once.

    `batch_id` is the batch that met the trouble.
    """
    ledger = resources().ledger
    is_news = record_trouble(ledger, account, trouble, proof=proof, batch_id=batch_id)
    tell_trouble(account, trouble, is_news=is_news)


def tell_trouble(account: str, trouble: str, *, is_news: bool) -> None:
    """Write the one alert of an episode into the log, if it has just begun."""
    if is_news:
        logger.error(
            "the provider refuses the account: nothing is sent until it works again",
            extra={"account": account, "problem": trouble},
        )
    else:
        logger.info("account still refused", extra={"account": account, "problem": trouble})
