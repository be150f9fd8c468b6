"""What an answer of the provider is about, and whether it can be believed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.errors import ProviderUnavailable
from batching.provider import ProviderBatch, describe_answer, read_text

MOST_LISTED: Final = 1_000_000
"""A list with more entries has no end: no account holds so many."""
SHORTEST_FULL_PAGE: Final = 20
"""What a server may give at once that does not care for how much was asked."""


def json_of(response: Any) -> object:
    """Return the JSON value of an answer, its text if it is none that can be read."""
    content: bytes = response.http_response.content
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def about(batch: ProviderBatch, batch_id: str) -> ProviderBatch:
    """Return the batch if it is the one that was asked for: another one's files are not ours."""
    if batch.id != batch_id:
        raise ProviderUnavailable(
            f"the provider was asked for batch {batch_id} and told of {batch.id}. "
            "It is asked again; check OPENAI_BASE_URL if this goes on."
        )
    return batch


def read_page(answer: object) -> Mapping[str, Any]:
    """Return a page of a list; ProviderUnavailable if it is none."""
    if isinstance(answer, Mapping) and isinstance(answer.get("data"), list):
        return answer
    raise ProviderUnavailable(
        f"the provider sent no list but: {describe_answer(answer)}. "
        "Check OPENAI_BASE_URL if this goes on."
    )


def id_in(entry: object) -> str | None:
    """Return the id of an entry of a list, None if it has none."""
    return read_text(entry.get("id")) if isinstance(entry, Mapping) else None


def is_end(page: Sequence[object], last: Sequence[object], *, has_more: object) -> bool:
    """Return whether a page that brought nothing new ends its list.

    A server that knows no paging gives its only page again, whatever it says of more to come.
    Whoever gives a full page or an earlier one again and speaks of more has not shown all.
    """
    if not page or has_more is not True:
        return True
    is_same = [id_in(entry) for entry in page] == [id_in(entry) for entry in last]
    return is_same and len(page) < SHORTEST_FULL_PAGE


def endless(asked: str) -> ProviderUnavailable:
    """Return the error for a list from which nothing can be concluded."""
    return ProviderUnavailable(
        f"{asked}: the provider says that more follow, but repeats itself or has no end. "
        "Nothing is concluded from such a list; it is asked for again."
    )
