"""The search box of the requests page, as a filter and back."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboards.pages.request_search import read_terms, search_of, without, written
from dashboards.places import Place
from storage.request_filter import RequestFilter

AT = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def wanted(address: str) -> RequestFilter:
    found = search_of(Place.of(address), AT)
    assert found.problems == ()
    return found.wanted


def typed(text: str) -> RequestFilter:
    found = search_of(Place(page="requests", query={"q": text}), AT)
    assert found.problems == ()
    return found.wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RequestFilter()),
        ("order-17", RequestFilter(custom_id_part="order-17")),
        ("state:failed", RequestFilter(state="failed")),
        ("STATE:failed", RequestFilter(state="failed")),
        ("batch:12 model:gpt-4o", RequestFilter(batch_id=12, model="gpt-4o")),
        ('job:"job 3" x', RequestFilter(job="job 3", custom_id_part="x")),
        ("dest:webhook", RequestFilter(destination="webhook")),
        ("dest:named:crm", RequestFilter(target="named:crm")),
        (
            "dest:webhook:https://example.com:443",
            RequestFilter(target="webhook:https://example.com:443"),
        ),
        ("error:rate_limit_exceeded", RequestFilter(error_code="rate_limit_exceeded")),
        ("delivery:exhausted", RequestFilter(delivery_state="exhausted")),
        ("age:24h", RequestFilter(since=AT - timedelta(hours=24))),
        ("age:<30m", RequestFilter(since=AT - timedelta(minutes=30))),
        ("age:>2d", RequestFilter(until=AT - timedelta(days=2))),
        ("endpoint:/v1/embeddings", RequestFilter(endpoint="/v1/embeddings")),
        # A custom_id may hold colons and spaces of its own.
        ("tenant:7:order", RequestFilter(custom_id_part="tenant:7:order")),
        ("one two", RequestFilter(custom_id_part="one two")),
        ('"state:failed"', RequestFilter(custom_id_part="state:failed")),
    ],
)
def test_what_is_typed_becomes_a_filter(text: str, expected: RequestFilter) -> None:
    assert typed(text) == expected


def test_parameters_of_the_address_are_filters_too() -> None:
    found = wanted("/ui/requests?batch=12&state=failed&model=m&since=24h&until=2026-03-01")
    assert found == RequestFilter(
        batch_id=12, state="failed", model="m", since=AT - timedelta(hours=24),
        until=datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip


def test_what_is_typed_comes_before_the_parameter() -> None:
    assert wanted("/ui/requests?state=pending&q=state:failed").state == "failed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state:lost", "state:lost is unknown; there are pending, batched"),
        ("delivery:gone", "there are pending, delivered, exhausted"),
        ("batch:many", "batch:many is not a number"),
        ("batch:99999999999999999999", "is not a number"),
        ("age:yesterday", "age:yesterday is unknown"),
    ],
)
def test_a_value_that_means_nothing_is_told(text: str, said: str) -> None:
    found = search_of(Place(page="requests", query={"q": text}), AT)
    assert said in found.problems[0]
    assert found.wanted == RequestFilter()


def test_an_age_beyond_all_time_is_no_trouble() -> None:
    assert typed("age:999999w").since is not None


@pytest.mark.parametrize("text", ["state:failed x", 'job:"job 3" "a b"', "a:b:c model:m"])
def test_terms_are_written_as_they_were_typed(text: str) -> None:
    assert written(read_terms(text)) == text


def test_a_filter_goes_away_wherever_it_stands() -> None:
    place = Place.of("/ui/requests?q=state:failed+abc&state=pending&job=j&page=4")
    assert without(place, "state").address == "/ui/requests?job=j&q=abc"
    assert without(place, "state", "job").address == "/ui/requests?q=abc"
