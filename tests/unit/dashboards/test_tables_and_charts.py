"""The HTML of tables, and the options of charts."""

from datetime import UTC, datetime, timedelta

from dashboards.components.charts import bars, chart, over_time, ring
from dashboards.components.filters import chips, tabs
from dashboards.components.table import (
    Action,
    Column,
    Table,
    page_offset,
    page_size,
    sorting,
    table_html,
)
from dashboards.places import Place

EVIL = '"><script>alert(1)</script>'
TABLE = Table(
    label="Things",
    row_id=lambda row: row["id"],
    row_link=lambda row: f"/ui/things/{row['id']}",
    columns=(
        Column(title="Name", sort="name", cell=lambda row: row["name"]),
        Column(title="Size", kind="number", cell=lambda row: row["size"]),
    ),
    row_actions=lambda _row: [Action(act="cancel", words="Cancel", kind="risky")],
    bulk_actions=(Action(act="cancel", words="Cancel"),),
)
ROWS = [{"id": EVIL, "name": EVIL, "size": 3}]
PLACE = Place.of("/ui/things?tab=all&sort=-name&page=2&size=10")


def test_no_value_of_a_row_becomes_markup() -> None:
    shown = table_html(TABLE, ROWS, place=PLACE, count=11, may_operate=True)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_a_viewer_gets_neither_ticks_nor_buttons() -> None:
    shown = table_html(TABLE, ROWS, place=PLACE, count=11)
    assert "checkbox" not in shown
    assert "data-act" not in shown
    assert "data-bulk" not in shown


def test_an_operator_gets_both_and_can_mean_all_that_match() -> None:
    shown = table_html(TABLE, ROWS, place=PLACE, count=811, may_operate=True)
    assert "Select all 811 matching" in shown
    assert shown.count('data-act="cancel"') == 2


def test_a_heading_sorts_and_sorts_back() -> None:
    shown = table_html(TABLE, ROWS, place=PLACE, count=11)
    assert 'aria-sort="descending"' in shown
    assert 'href="/ui/things?tab=all&amp;size=10&amp;sort=name"' in shown
    assert shown.count("<th") == 2 + 1  # two headings, and thead


def test_the_region_can_be_scrolled_by_key_and_has_a_name() -> None:
    assert 'role="region" tabindex="0" aria-label="Things"' in table_html(TABLE, ROWS)


def test_pages_say_what_they_show_of_how_much() -> None:
    shown = table_html(TABLE, ROWS, place=PLACE, count=11)
    assert "Showing 11 to 11 of 11" in shown
    assert 'aria-disabled="true">Next' in shown
    assert "/ui/things?tab=all&amp;sort=-name&amp;size=10&amp;page=1" in shown


def test_unknown_sizes_and_orders_are_as_none() -> None:
    assert page_size(Place.of("/ui/things?size=7")) == 25
    assert page_offset(Place.of("/ui/things?size=10&page=3")) == 20
    assert sorting(Place.of("/ui/things?sort=-name"), ["name"]) == ("name", True)
    assert sorting(Place.of("/ui/things?sort=;drop"), ["name"]) == (None, True)


def test_tabs_and_chips_keep_the_other_filters() -> None:
    place = Place.of("/ui/things?q=abc&tab=open")
    shown = tabs(place, {"all": "All", "open": "Open"}, counts={"all": 1200})
    assert 'href="/ui/things?q=abc"' in shown
    assert "1,200" in shown
    assert 'href="/ui/things?tab=open"' in chips(place, {"q": "Search:"})


def _pieces(*values: int) -> list[dict[str, object]]:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    last = len(values) - 1
    return [
        {"starts_at": first + timedelta(hours=n), "partial": n in {0, last}, "done": value}
        for n, value in enumerate(values)
    ]


def test_the_first_part_of_a_piece_is_left_out_and_the_running_one_is_paler() -> None:
    (series,) = over_time(_pieces(1, 5, 6, 2), {"done": ("Done", "#10a37f")})["series"]
    assert [point["value"][1] for point in series["data"]] == [5, 6, 2]
    assert [point.get("itemStyle") for point in series["data"]][:2] == [None, None]
    assert series["data"][-1]["itemStyle"]["opacity"] < 0.5


def test_a_line_ends_where_time_is_whole() -> None:
    options = over_time(_pieces(1, 5, 6, 2), {"done": ("Done", "#10a37f")}, kind="lines")
    assert [value for _, value in options["series"][0]["data"]] == [5, 6]


def test_what_never_happened_is_not_in_the_legend() -> None:
    assert over_time(_pieces(0, 0, 0), {"done": ("Done", "#10a37f")})["series"] == []


def test_a_chart_is_named_and_its_options_cannot_break_out() -> None:
    shown = chart(bars([(EVIL, 3)], colour="#fff", name="n"), name="x", label=EVIL)
    assert "<script" not in shown
    assert 'id="chart-x"' in shown
    assert 'role="img"' in shown


def test_parts_of_a_ring_lead_somewhere() -> None:
    options = ring([{"name": "a", "value": 2, "href": "/ui/requests?q=a"}], name="n")
    assert options["series"][0]["data"][0]["href"] == "/ui/requests?q=a"


def test_lines_that_lie_on_each_other_can_be_told_apart() -> None:
    names = {"done": ("Done", "#10a37f"), "same": ("Same", "#3b82f6")}
    rows = [{**row, "same": row["done"]} for row in _pieces(1, 5, 6, 2)]
    lines = over_time(rows, names, kind="lines")["series"]
    assert [line["lineStyle"]["type"] for line in lines] == ["solid", [7, 7]]
