"""Tables: rows that open, ticks, sorted headings, buttons, pages; rows become cards on phones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.places import Place
from storage.reports.paging import PageChoice

Row = Mapping[str, Any]
Kind = Literal["text", "number", "mono", "strong", "wide", "cut", "actions"]
PAGE_SIZES: Final = (10, 20, 25, 50, 100)
FIRST_PAGE_SIZE: Final = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column: its heading, and what stands in it for a row."""

    title: str
    cell: Callable[[Row], object]
    kind: Kind = "text"
    sort: str | None = None
    """What the report calls the order by this column; None: it cannot be sorted by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """A button of a row or of the bulk bar."""

    act: str
    """The key in `Page.deeds`."""
    words: str
    kind: Literal["", "primary", "risky"] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What all rows have in common."""

    label: str
    """What is in the table; for those who do not see it."""
    columns: Sequence[Column]
    row_id: Callable[[Row], object]
    row_link: Callable[[Row], str] | None = None
    row_actions: Callable[[Row], Iterable[Action]] | None = None
    bulk_actions: Sequence[Action] = ()
    """Buttons for ticked rows; without any there are no ticks."""


def table_html(
    table: Table,
    rows: Sequence[Row],
    *,
    place: Place | None = None,
    count: int | None = None,
    may_operate: bool = False,
) -> Html:
    """Return the rows in a card; with a place and a count headings sort, and pages turn.

    Ticks and buttons are there for operators only; that is looked at again when one is pressed.
    """
    ticked = bool(table.bulk_actions) and may_operate
    head = _head(table, place, ticked=ticked, may_operate=may_operate)
    body = join(_row(table, row, ticked=ticked, may_operate=may_operate) for row in rows)
    whole = len(rows) if count is None else count
    return html(
        '<section class="card table-card"{select}>{bulk}'
        '<div class="table-scroll" role="region" tabindex="0" aria-label="{label}" '
        'data-scroll="{label}"><table class="cards"><thead><tr>{head}</tr></thead>'
        "<tbody>{body}</tbody></table></div>{pager}</section>",
        select=attributes(data_selectable=table.label if ticked else None),
        bulk=_bulk(table, whole) if ticked else EMPTY,
        label=table.label, head=head, body=body,
        pager=EMPTY if place is None or count is None else pager(place, len(rows), count),
    )  # fmt: skip


def button(action: Action, *, small: bool = True) -> Html:
    """Return the button of an action."""
    return html(
        '<button type="button" class="button {} {}" data-act="{}">{}</button>',
        action.kind, "small" if small else "", action.act, action.words,
    )  # fmt: skip


def page_size(place: Place) -> int:
    """Return how many rows a page has."""
    wanted = place.number("size", FIRST_PAGE_SIZE)
    return wanted if wanted in PAGE_SIZES else FIRST_PAGE_SIZE


def page_offset(place: Place) -> int:
    """Return how many rows are on the pages before."""
    return (place.number("page", 1) - 1) * page_size(place)


def sorting(place: Place, known: Iterable[str]) -> tuple[str | None, bool]:
    """Return the order of the address (`sort=tokens`, `sort=-tokens`): its name, and if falling.

    None is the list's own order: an unknown one is as none.
    """
    text = place.get("sort")
    name = text.removeprefix("-")
    return (name, text.startswith("-")) if name in set(known) else (None, True)


def page_choice(place: Place, known: Iterable[str]) -> PageChoice:
    """Return the order and the page that the address asks of a report."""
    name, falling = sorting(place, known)
    return PageChoice(
        sort=name, descending=falling, limit=page_size(place), offset=page_offset(place)
    )


def pager(place: Place, shown: int, count: int) -> Html:
    """Return `Showing 1-25 of 812`, the links to other pages, and the choice of their size."""
    number, offset = place.number("page", 1), page_offset(place)
    is_last = offset + shown >= count
    text = (
        f"Showing {offset + 1:,} to {offset + shown:,} of {count:,}" if shown else f"0 of {count:,}"
    )
    turn = EMPTY
    if number > 1 or not is_last:
        turn = join(
            (
                _turn(place, number - 1, "Previous", possible=number > 1),
                _turn(place, number + 1, "Next", possible=not is_last),
            )
        )
    return html(
        '<nav class="pager" aria-label="Pages of the list">'
        '<span>{}</span><span class="grow"></span>{}{}</nav>',
        text, _size_choice(place) if count > PAGE_SIZES[0] else EMPTY, turn,
    )  # fmt: skip


def hidden_fields(place: Place, *left_out: str) -> Html:
    """Return the filters of a place as fields of a form that changes others."""
    return join(
        html('<input type="hidden" name="{}" value="{}">', name, value)
        for name, value in place.query.items()
        if name not in {*left_out, "page"} and value
    )


def _turn(place: Place, number: int, words: str, *, possible: bool) -> Html:
    if not possible:
        return html('<span class="button small" aria-disabled="true">{}</span>', words)
    return html('<a class="button small" href="{}">{}</a>', place.link(page=number), words)


def _size_choice(place: Place) -> Html:
    chosen = page_size(place)
    options = join(
        html("<option{}>{}</option>", attributes(selected=size == chosen), size)
        for size in PAGE_SIZES
    )
    return html(
        '<form method="get" action="{}">{}<label>Rows <select name="size" data-submit '
        'data-remember="obm-size">{}</select></label></form>',
        place.path, hidden_fields(place, "size"), options,
    )  # fmt: skip


def _head(table: Table, place: Place | None, *, ticked: bool, may_operate: bool) -> Html:
    cells = [_heading(column, place) for column in table.columns]
    if ticked:
        box = '<th class="tick"><input type="checkbox" data-select-all aria-label="All rows"></th>'
        cells.insert(0, Html(box))
    if table.row_actions and may_operate:
        cells.append(Html('<th class="actions">Actions</th>'))
    return join(cells)


def _heading(column: Column, place: Place | None) -> Html:
    if column.sort is None or place is None:
        return html('<th class="{}">{}</th>', column.kind, column.title)
    now = place.get("sort")
    is_sorted = now.removeprefix("-") == column.sort
    falling = f"-{column.sort}"
    direction = "descending" if now == falling else "ascending"
    return html(
        '<th class="{}"{}><a href="{}">{}</a></th>',
        column.kind, attributes(aria_sort=direction if is_sorted else None),
        place.link(sort=column.sort if now == falling else falling), column.title,
    )  # fmt: skip


def _row(table: Table, row: Row, *, ticked: bool, may_operate: bool) -> Html:
    identity = table.row_id(row)
    cells = [_cell(column, row) for column in table.columns]
    if ticked:
        cells.insert(0, _box(identity))
    if table.row_actions and may_operate:
        buttons = join(button(action) for action in table.row_actions(row))
        cells.append(html('<td class="actions">{}</td>', buttons))
    link = table.row_link(row) if table.row_link else None
    return html(
        "<tr{}>{}</tr>",
        attributes(data_id=identity, data_href=link, tabindex="-1" if link else None), join(cells),
    )  # fmt: skip


def _cell(column: Column, row: Row) -> Html:
    return html(
        '<td class="{}" data-label="{}">{}</td>', column.kind, column.title, column.cell(row)
    )


def _box(identity: object) -> Html:
    return html(
        '<td class="tick"><input type="checkbox" data-select value="{0}" '
        'aria-label="Select {0}"></td>',
        identity,
    )


def _bulk(table: Table, count: int) -> Html:
    return html(
        '<div class="bulk" data-bulk="{}" hidden><b data-count></b>'
        '<button type="button" class="button small quiet" data-tick="all" hidden>'
        "Select all {} matching</button>"
        '<button type="button" class="button small quiet" data-tick="none">Clear</button>'
        '<span class="grow"></span>{}</div>',
        count, f"{count:,}", join(button(action) for action in table.bulk_actions),
    )  # fmt: skip
