"""Loading what is due for many targets at once."""

import asyncio

import factories
import polars as pl
import pytest
from factories import Store
from pushing_bench import answered, resources, store

from batching.destinations import Reach
from batching.requests import ReadingRules
from tasks import push_loading
from tasks.push_loading import WISHES_A_TRANSACTION, Pages

__all__ = ["resources", "store"]

NAMES = [f"target-{number:02}" for number in range(50)]


@pytest.fixture
def loads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have one result wait for each of fifty targets; give how many wishes each load fulfils."""
    reach = Reach(names=frozenset(NAMES))
    monkeypatch.setattr(factories, "RULES", ReadingRules(reach=reach))
    answered(store, [{"type": "named", "name": name} for name in NAMES])
    seen: list[int] = []
    load = push_loading._load

    def noted(wishes: list[push_loading._Wish]) -> list[pl.DataFrame]:
        seen.append(len(wishes))
        return load(wishes)

    monkeypatch.setattr(push_loading, "_load", noted)
    return seen


async def all_pages(*, keeps_errors: bool = False) -> list[pl.DataFrame | BaseException]:
    pages = Pages()
    wishes = [pages.page(f"named:{name}", most=10, under_way=[]) for name in NAMES]
    return await asyncio.gather(*wishes, return_exceptions=keeps_errors)


def test_wishes_that_wait_together_share_transactions_and_each_gets_its_own_page(
    loads: list[int],
) -> None:
    pages = asyncio.run(all_pages())
    found = [page["config"].to_list() for page in pages if isinstance(page, pl.DataFrame)]
    assert found == [[f'{{"name":"{name}","type":"named"}}'] for name in NAMES]
    assert sum(loads) == len(NAMES)
    assert len(loads) <= 1 + -(-len(NAMES) // WISHES_A_TRANSACTION)
    assert max(loads) <= WISHES_A_TRANSACTION


@pytest.mark.usefixtures("loads")
def test_a_load_that_fails_is_the_error_of_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    load, failures = push_loading._load, [0, 1]  # the second load, which many share

    def fails_once(wishes: list[push_loading._Wish]) -> list[pl.DataFrame]:
        if failures and failures.pop(0):
            raise OSError("the disk is away")
        return load(wishes)

    monkeypatch.setattr(push_loading, "_load", fails_once)
    pages = asyncio.run(all_pages(keeps_errors=True))
    assert [type(page) for page in pages].count(OSError) == 1
    assert sum(isinstance(page, pl.DataFrame) and page.height == 1 for page in pages) == 49
