"""How everything looks: the style sheet, the colours that Material needs, badges, bars, icons."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.wording import number

Tone = Literal["success", "info", "warning", "error", "neutral"]
"""How something is meant: the class `is-<tone>` in the style sheet."""

PRIMARY: Final = {"light": "#0b7a5e", "dark": "#19c69a"}
_FONT: Final = "Inter, Roboto, system-ui, -apple-system, 'Segoe UI', sans-serif"

THEME_CONFIG: Final[Mapping[str, Any]] = {
    scheme: {
        "palette": {
            "primary": {"main": PRIMARY[scheme]},
            "background": {
                "default": "#f6f7f9" if scheme == "light" else "#0f1216",
                "paper": "#ffffff" if scheme == "light" else "#171b21",
            },
        },
        "typography": {"fontFamily": _FONT},
        "shape": {"borderRadius": 10},
    }
    for scheme in ("light", "dark")
}

FRAME_STYLE: Final[Mapping[str, Any]] = {
    "& .header": {
        "backgroundColor": "var(--obm-paper)",
        "color": "var(--obm-text)",
        "boxShadow": "none",
        "backgroundImage": "none",
        "borderBottom": "1px solid var(--obm-line)",
    },
    "& .sidebar": {
        "backgroundColor": "var(--obm-paper)",
        "borderRight": "1px solid var(--obm-line)",
        "backgroundImage": "none",
    },
    # Shown also where no busy indicator is wanted, and without a name.
    "& .MuiLinearProgress-root": {"display": "none"},
    "& .main": {"backgroundColor": "var(--obm-ground)", "minWidth": 0},
    "& .MuiToolbar-root": {"minHeight": "56px !important", "paddingX": "16px !important"},
}

CHART_COLOURS: Final[Mapping[str, str]] = {
    "delivered": "#10a37f", "succeeded": "#10a37f", "batched": "#3b82f6", "processing": "#3b82f6",
    "pending": "#9ca3af", "exhausted": "#ef4444", "failed": "#b91c1c", "expired": "#f59e0b",
    "cancelled": "#6b7280", "histogram": "#6366f1", "money": "#8b5cf6",
}  # fmt: skip


@cache
def stylesheet() -> str:
    """Return the one style sheet of the dashboard, for the page and all of its parts."""
    folder = resources.files("dashboards") / "components"
    return "".join(
        (folder / name).read_text(encoding="utf-8")
        for name in (
            "tokens.css",
            "board.css",
            "table.css",
            "tiles.css",
            "requests.css",
            "settings.css",
            "jobs.css",
            "upload.css",
            "analytics.css",
        )
    )


def badge(words: str, tone: Tone = "neutral", *, title: str | None = None) -> Html:
    """Return a dot with words."""
    return html('<span class="badge is-{}"{}>{}</span>', tone, attributes(title=title), words)


def bar(
    value: float, whole: float, *, label: str, tone: Tone | Literal["primary"] = "primary"
) -> Html:
    """Return a bar that is filled so far; the label says of what."""
    share = 0.0 if not whole else max(0.0, min(100.0, 100.0 * value / whole))
    return html(
        '<span class="bar is-{tone}" role="progressbar" aria-label="{label}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{now}"><i style="width:{share}%"></i></span>',
        tone=tone, label=label, now=f"{share:.0f}", share=f"{share:.1f}",
    )  # fmt: skip


def stacked_bar(parts: Mapping[str, float], *, label: str) -> Html:
    """Return a bar of several colours with its legend; names are keys of `CHART_COLOURS`."""
    whole = sum(parts.values()) or 1.0
    shown = {name: value for name, value in parts.items() if value}
    pieces = join(
        html(
            '<i style="width:{}%;background:{}"></i>',
            f"{100 * value / whole:.2f}", CHART_COLOURS.get(name, "#9ca3af"),
        )
        for name, value in shown.items()
    )  # fmt: skip
    legend = join(
        html(
            '<li><i style="background:{}"></i>{} <b>{}</b></li>',
            CHART_COLOURS.get(name, "#9ca3af"), name.capitalize(), number(value),
        )
        for name, value in shown.items()
    )  # fmt: skip
    return html(
        '<div class="stacked" role="img" aria-label="{}">{}</div><ul class="legend">{}</ul>',
        f"{label}: " + ", ".join(f"{number(value)} {name}" for name, value in shown.items()),
        pieces, legend,
    )  # fmt: skip


_ICONS: Final[Mapping[str, str]] = {
    "overview": "M3 3h8v10H3zM13 3h8v6h-8zM13 11h8v10h-8zM3 15h8v6H3z",
    "batches": "M12 2 2 7l10 5 10-5zM2 12l10 5 10-5M2 17l10 5 10-5",
    "requests": "M4 5h16M4 12h16M4 19h10",
    "deliveries": "M22 2 11 13M22 2l-7 20-4-9-9-4z",
    "jobs": "M3 7h18v13H3zM8 7V4h8v3M3 12h18",
    "analytics": "M3 20h18M6 16v-4M11 16V6M16 16v-7M20 16V9",
    "settings": "M4 7h9M17 7h3M4 17h3M11 17h9M13 4v6M7 14v6",
    "audit": "M12 3 4 6v6c0 5 3.5 8 8 9 4.500-1 8-4 8-9V6zM9 12l2 2 4-4",
    "upload": "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
    "copy": "M9 9h11v11H9zM5 15H4V4h11v1",
    "external": "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
    "sun": "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12 1v2M12 21v2M4 4l1.500 1.500M18.500 18.500"
    "L20 20M1 12h2M21 12h2M4 20l1.500-1.500M18.500 5.500L20 4",
    "moon": "M20 14A8.500 8.500 0 0 1 10 4a8.500 8.500 0 1 0 10 10z",
    "system": "M3 4h18v12H3zM8 20h8M12 16v4",
    "warning": "M12 3 2 20h20zM12 10v4M12 17v.500",
    "check": "M4 12l5 5L20 6",
    "retry": "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
    "close": "M5 5l14 14M19 5 5 19",
    "pause": "M8 5v14M16 5v14",
    "download": "M12 4v12M7 11l5 5 5-5M4 20h16",
    "chevron": "M9 5l7 7-7 7",
}


def icon(name: str, *, label: str | None = None) -> Html:
    """Return a line drawing in the colour of the text; without a label it is decoration."""
    naming = attributes(role="img", aria_label=label) if label else attributes(aria_hidden="true")
    return html(
        '<svg class="icon" viewBox="0 0 24 24"{}><path d="{}"/></svg>', naming, _ICONS[name]
    )


def sparkline(values: list[float], colour: str) -> Html:
    """Return a small curve of the values; nothing for fewer than two."""
    if len(values) < 2:  # noqa: PLR2004 - a curve needs two points
        return EMPTY
    highest = max(values) or 1.0
    step = 100 / (len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{30 - 27 * value / highest:.1f}" for index, value in enumerate(values)
    )
    return html(
        '<svg class="spark" viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon points="0,32 {points} 100,32" fill="{colour}" fill-opacity=".14"/>'
        '<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" '
        'vector-effect="non-scaling-stroke"/></svg>',
        points=points, colour=colour,
    )  # fmt: skip
