"""Escaping in its one place, addresses, and how figures are worded."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from dashboards.markup import Html, attributes, html, join
from dashboards.places import Place, link
from dashboards.theme import badge, sparkline
from dashboards.wording import age, compact, duration, money, number, percent, size

EVIL = "<img src=x onerror=alert(1)>\"'"


def test_a_value_is_escaped_and_html_is_not() -> None:
    assert html("<b>{}</b>", EVIL) == ("<b>&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;</b>")
    assert html("<b>{}</b>", Html("<i></i>")) == "<b><i></i></b>"
    assert "<img" not in join([EVIL, badge(EVIL, title=EVIL)], EVIL)


def test_text_added_to_html_is_escaped_too() -> None:
    assert Html("<b></b>") + "<i>" == "<b></b>&lt;i&gt;"


def test_attributes_leave_out_what_is_not_there() -> None:
    written = attributes(data_id=EVIL, hidden=True, title=None, checked=False, class_="a")
    assert written == (' data-id="&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;" hidden class="a"')


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/ui", Place()),
        ("/ui?since=24h", Place(query={"since": "24h"})),
        ("/ui/batches?q=a+b%26", Place(page="batches", query={"q": "a b&"})),
        ("/ui/batches/12", Place(page="batches", id="12")),
        ("/ui/jobs/a%20b%3F", Place(page="jobs", id="a b?")),
    ],
)  # fmt: skip
def test_an_address_and_its_place_are_the_same(address: str, place: Place) -> None:
    assert Place.of(address) == place
    assert Place.of(place.address) == place


def test_another_filter_leads_back_to_the_first_page() -> None:
    place = Place.of("/ui/batches?tab=active&page=3")
    assert place.link(q="x") == "/ui/batches?tab=active&q=x"
    assert place.link(page=4) == "/ui/batches?tab=active&page=4"
    assert place.link(tab=None) == "/ui/batches"


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "9999999999999", "1.5"])
def test_a_page_number_that_is_none_is_the_first(text: str) -> None:
    assert Place(query={"page": text}).number("page", 1) == 1


def test_links_quote_what_they_are_given() -> None:
    assert link("jobs", "a/b?c") == "/ui/jobs/a/b%3Fc"
    assert link("requests", None, state="failed", q=None) == "/ui/requests?state=failed"


def test_what_is_not_known_is_a_dash_and_never_zero() -> None:
    assert {number(None), money(None), size(None), duration(None), percent(1, 0)} == {"\N{EN DASH}"}
    assert money(Decimal(0)) == "$0.00"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (compact(1_700_000), "1.7M"), (compact(812), "812"), (compact(69_712), "69.7k"),
        (size(7_450_000), "7.45 MB"), (size(12), "12 B"), (money(Decimal("1284.1")), "$1,284.10"),
        (money(0.0123), "$0.0123"), (percent(999, 1000), "99.9%"),
        (percent(99_999, 100_000), "99.9%"),
        (percent(3, 3), "100%"), (duration(0.84), "840 ms"), (duration(185), "3 min 5 s"),
        (duration(187_000), "2 d 3 h"),
    ],
)  # fmt: skip
def test_figures_are_worded_for_people(said: str, expected: str) -> None:
    assert said == expected


def test_ages_are_left_to_the_browser() -> None:
    said = age(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert 'datetime="2026-01-02T03:04:05+00:00"' in said
    assert 'data-age="ago"' in said


def test_a_curve_needs_two_points() -> None:
    assert sparkline([1.0], "#fff") == ""
    assert "polyline" in sparkline([0.0, 0.0], "#fff")
