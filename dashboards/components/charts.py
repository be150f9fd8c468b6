"""Pictures: rows in, ECharts options out. Colours are neutral, or follow the theme by `var()`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from dashboards.markup import Html, html, join

Options = dict[str, Any]
_TEXT: Final = "var(--obm-muted)"
_GRID: Final = "var(--obm-grid)"
_BAR_OPACITY: Final = 0.85
_TIME_WORDS: Final = {
    "year": "{yyyy}", "month": "{MMM}", "day": "{MMM} {d}", "hour": "{HH}:{mm}",
    "minute": "{HH}:{mm}", "second": "{HH}:{mm}:{ss}", "none": "{HH}:{mm}:{ss}",
}  # fmt: skip
_RUNNING_OPACITY: Final = 0.4
_TOOLTIP: Final[Mapping[str, Any]] = {
    "backgroundColor": "var(--obm-paper)",
    "borderColor": "var(--obm-grid)",
    "textStyle": {"color": "var(--obm-text)", "fontSize": 12.5},
    "confine": True,
}


def chart(
    options: Options, *, name: str, label: str, low: bool = False, table: Html | None = None
) -> Html:
    """Return a picture; `name` is unique on the page, `label` says what it shows.

    `table` holds the same figures for those who cannot see the picture.
    """
    picture = html(
        '<div id="{}" class="chart {}" role="img" aria-label="{}" data-chart="{}"></div>',
        f"chart-{name}", "low" if low else "", label,
        json.dumps(options, separators=(",", ":"), default=str),
    )  # fmt: skip
    if table is None:
        return picture
    return html(
        '{}<details id="table-{}" class="small"><summary>Show as a table</summary>{}</details>',
        picture, name, table,
    )  # fmt: skip


def figures(headings: Sequence[str], rows: Iterable[Sequence[object]], *, label: str) -> Html:
    """Return a plain table of figures: what a picture shows."""
    head = join(
        html('<th class="{}">{}</th>', "number" if index else "", heading)
        for index, heading in enumerate(headings)
    )
    body = join(
        html(
            "<tr>{}</tr>",
            join(
                html('<td class="{}">{}</td>', "number" if index else "", value)
                for index, value in enumerate(row)
            ),
        )
        for row in rows
    )
    return html(
        '<div class="table-scroll" role="region" tabindex="0" aria-label="{}"><table><thead><tr>{}'
        "</tr></thead><tbody>{}</tbody></table></div>",
        label, head, body,
    )  # fmt: skip


def over_time(
    rows: Sequence[Mapping[str, Any]],
    names: Mapping[str, tuple[str, str]],
    *,
    kind: Literal["bars", "lines"] = "bars",
    say: str = "compact",
) -> Options:
    """Return stacked bars, or lines, from rows with `starts_at`, `partial` and a value each name.

    `names` gives each value's words and colour. A first piece of time that is not whole is left
    out; the running one is a paler bar, and no part of a line.
    """
    whole = _whole_pieces(rows, with_running=kind == "bars")
    shown = {name: look for name, look in names.items() if any(row[name] for row in whole)}
    if kind == "bars":
        series = [_bar_series(whole, name, *look) for name, look in shown.items()]
    else:
        series = [
            _line_series(whole, name, words, colour, is_dashed=bool(place % 2))
            for place, (name, (words, colour)) in enumerate(shown.items())
        ]
    return {
        "grid": {"left": 8, "right": 14, "top": 34, "bottom": 4, "containLabel": True},
        "legend": _legend(),
        "tooltip": {
            "trigger": "axis", "say": "number", "axisPointer": {"type": "shadow"}, **_TOOLTIP,
        },
        "xAxis": _time_axis(),
        "yAxis": _value_axis(say),
        "series": series,
    }  # fmt: skip


def bars(
    pairs: Sequence[tuple[str, float]], *, colour: str, name: str, say: str = "compact"
) -> Options:
    """Return standing bars: a histogram."""
    return {
        "grid": {"left": 8, "right": 12, "top": 12, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "say": "number", **_TOOLTIP},
        "xAxis": {
            "type": "category",
            "data": [label for label, _ in pairs],
            "axisLabel": {"color": _TEXT, "interval": 0, "hideOverlap": True},
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": _GRID}},
        },
        "yAxis": _value_axis(say),
        "series": [
            {
                "type": "bar",
                "name": name,
                "data": [value for _, value in pairs],
                "itemStyle": {"color": colour, "borderRadius": [4, 4, 0, 0]},
                "barCategoryGap": "22%",
            }
        ],
    }


def ring(parts: Sequence[Mapping[str, Any]], *, name: str) -> Options:
    """Return a ring of parts with `name`, `value`, perhaps `colour` and `href`."""
    return {
        "tooltip": {"trigger": "item", "say": "number", **_TOOLTIP},
        "legend": {
            **_legend(), "orient": "vertical", "left": "50%", "top": "middle", "itemGap": 8,
            "textStyle": {"color": "var(--obm-text)", "width": 190, "overflow": "truncate"},
        },
        "series": [
            {
                "type": "pie",
                "name": name,
                "radius": ["52%", "78%"],
                "center": ["25%", "50%"],
                "label": {"show": False},
                "itemStyle": {"borderColor": "var(--obm-paper)", "borderWidth": 2},
                "data": [
                    {
                        "name": part["name"],
                        "value": part["value"],
                        "href": part.get("href"),
                        "itemStyle": {"color": part.get("colour") or _RING[index % len(_RING)]},
                    }
                    for index, part in enumerate(parts)
                ],
            }
        ],
    }  # fmt: skip


_RING: Final = ("#ef4444", "#f59e0b", "#6366f1", "#3b82f6", "#8b5cf6", "#14b8a6", "#9ca3af")


def _whole_pieces(
    rows: Sequence[Mapping[str, Any]], *, with_running: bool
) -> list[Mapping[str, Any]]:
    whole = list(rows)
    if len(whole) > 1 and whole[0].get("partial"):
        whole.pop(0)
    if len(whole) > 1 and whole[-1].get("partial") and not with_running:
        whole.pop()
    return whole


def _bar_series(
    rows: Sequence[Mapping[str, Any]], name: str, words: str, colour: str
) -> dict[str, Any]:
    points = [
        {
            "value": [_milliseconds(row["starts_at"]), row[name]],
            **({"itemStyle": {"opacity": _RUNNING_OPACITY}} if row.get("partial") else {}),
        }
        for row in rows
    ]
    return {
        "type": "bar", "name": words, "stack": "all",
        "itemStyle": {"color": colour, "opacity": _BAR_OPACITY},
        "barCategoryGap": "22%", "data": points,
    }  # fmt: skip


def _line_series(
    rows: Sequence[Mapping[str, Any]], name: str, words: str, colour: str, *, is_dashed: bool
) -> dict[str, Any]:
    """Return a line; every second one is dashed, so that one on another shows both."""
    return {
        "type": "line", "name": words, "showSymbol": len(rows) == 1, "symbolSize": 5,
        "lineStyle": {"width": 2, "color": colour, "type": [7, 7] if is_dashed else "solid"},
        "itemStyle": {"color": colour},
        "data": [[_milliseconds(row["starts_at"]), row[name]] for row in rows],
    }  # fmt: skip


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _legend() -> dict[str, Any]:
    return {
        "left": 0, "top": 0, "icon": "roundRect", "itemWidth": 10, "itemHeight": 10, "itemGap": 14,
        "textStyle": {"color": _TEXT, "fontSize": 12}, "type": "scroll",
    }  # fmt: skip


def _time_axis() -> dict[str, Any]:
    return {
        "type": "time",
        "axisLabel": {"color": _TEXT, "hideOverlap": True, "showMinLabel": False,
                      "showMaxLabel": False, "formatter": _TIME_WORDS},
        "axisLine": {"lineStyle": {"color": _GRID}},
        "axisTick": {"show": False},
        "splitLine": {"show": False},
    }  # fmt: skip


def _value_axis(say: str) -> dict[str, Any]:
    return {
        "type": "value",
        "axisLabel": {"color": _TEXT, "say": say},
        "splitLine": {"lineStyle": {"color": _GRID}},
        "splitNumber": 4,
        "minInterval": 1 if say == "compact" else 0,
    }
