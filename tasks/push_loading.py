"""Loading what is due for a target: pages of deliveries, messages in windows of bounded size."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from pyarrow import ArrowException

from batching.destinations import parse_destination
from storage.deliveries import due_deliveries, messages_of
from storage.ledger import now
from tasks.push_channels import Errand
from tasks.resources import resources

WISHES_A_TRANSACTION = 20
"""So that nobody else waits for the ledger for more than about 0.1 s."""

BYTES_A_WINDOW = 8_000_000
_FIRST_WINDOW = 250


@dataclass(kw_only=True, slots=True, eq=False)
class _Wish:
    """A worker's wish for deliveries, and what was found."""

    target: str
    most: int
    under_way: list[int]
    page: pl.DataFrame | None = None


class Pages:
    """Loads what is due for all workers; wishes that wait at the same time share a transaction.

    Opening the ledger costs several times what one of these questions costs.
    """

    def __init__(self) -> None:
        self._wishes: list[_Wish] = []
        self._loading = asyncio.Lock()

    async def page(self, target: str, *, most: int, under_way: list[int]) -> pl.DataFrame:
        """Return deliveries of the target that are due and not under way."""
        wish = _Wish(target=target, most=most, under_way=under_way)
        self._wishes.append(wish)
        while wish.page is None:
            async with self._loading:
                if wish.page is None:
                    await self._load(wish)
        return wish.page

    async def _load(self, asking: _Wish) -> None:
        wishes = self._wishes[:WISHES_A_TRANSACTION]
        del self._wishes[:WISHES_A_TRANSACTION]
        try:
            pages = await asyncio.to_thread(_load, wishes)
        except BaseException:  # the error is this worker's; the others ask again
            self._wishes += [wish for wish in wishes if wish is not asking]
            raise
        for wish, page in zip(wishes, pages, strict=True):
            wish.page = page


def _load(wishes: Sequence[_Wish]) -> list[pl.DataFrame]:
    with resources().ledger.transaction() as reader:
        return [
            due_deliveries(
                reader,
                wish.target,
                at=now(),
                most=wish.most,
                under_way=pl.Series("delivery_id", wish.under_way, dtype=pl.Int64),
            )
            for wish in wishes
        ]


class Window:
    """How many messages are read at once: as many as 8 MB hold, by those read before."""

    def __init__(self) -> None:
        self.size = _FIRST_WINDOW

    def read(self, rows: pl.DataFrame, url: str) -> tuple[list[Errand], str | None]:
        """Return the errands of these deliveries, and why some of them cannot be read."""
        found: list[Errand] = []
        problem = None
        for part in rows.partition_by("result_id", maintain_order=True):
            try:
                found += _errands(part, url)
            except (OSError, ArrowException) as error:
                problem = f"the result cannot be read: {error}"
        byte_count = sum(len(errand.message.payload) for errand in found)
        if found:
            self.size = max(1, min(5_000, BYTES_A_WINDOW * len(found) // max(1, byte_count)))
        return found, problem


def _errands(rows: pl.DataFrame, url: str) -> Iterator[Errand]:
    known = {
        row[0]: row
        for row in rows.select("delivery_id", "destination_id", "config", "attempts").iter_rows()
    }
    messages = messages_of(resources().directory, resources().installation, rows)
    for message in messages:
        _, destination_id, config, attempts = known[message.delivery_id]
        yield Errand(
            message=message,
            destination_id=destination_id,
            url=url or _url_of(config),
            attempts=attempts,
        )


@lru_cache(maxsize=1_024)
def _url_of(config: str) -> str:
    destination = parse_destination(config)
    return destination.webhook_url if destination.type == "webhook" else ""
