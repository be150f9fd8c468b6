"""Text to read and to copy: code, JSON, commands."""

import json
from typing import Any, Final

from dashboards.markup import Html, html, join
from dashboards.theme import icon

_MOST_CHARACTERS: Final = 200_000


def copy_button(text: str, *, label: str, said: str = "Copied.") -> Html:
    """Return a small button that copies the text."""
    return html(
        '<button type="button" class="icon-button" data-copy="{}" data-copied="{}" '
        'aria-label="{}" title="{}">{}</button>',
        text, said, label, label, icon("copy"),
    )  # fmt: skip


def copied_as(text: str, *, words: str, said: str = "Copied.") -> Html:
    """Return a button with words that copies the text."""
    return html(
        '<button type="button" class="button" data-copy="{}" data-copied="{}">{} {}</button>',
        text, said, icon("copy"), words,
    )  # fmt: skip


def code(text: str, *, label: str) -> Html:
    """Return text as it is, with a button that copies it."""
    return html(
        '<div class="code">{}<pre tabindex="0" role="region" aria-label="{}">{}</pre></div>',
        copy_button(text, label=f"Copy {label}"), label, text[:_MOST_CHARACTERS],
    )  # fmt: skip


def json_view(value: Any, *, label: str) -> Html:
    """Return a JSON value, indented and coloured, with a button that copies it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) > _MOST_CHARACTERS:
        return code(text, label=label)
    return html(
        '<div class="code json">{}<pre tabindex="0" role="region" aria-label="{}">{}</pre></div>',
        copy_button(text, label=f"Copy {label}"), label, _coloured(value, 0),
    )  # fmt: skip


def curl(method: str, url: str, body: str | None = None, *, with_token: bool = False) -> str:
    """Return a shell command that sends this."""
    lines = [f"curl -X {method} {_quoted(url)}"]
    if with_token:
        lines.append('-H "Authorization: Bearer $OBM_TOKEN"')
    if body is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {_quoted(body)}"]
    return " \\\n  ".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _coloured(value: Any, depth: int) -> Html:
    inner, outer = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, dict) and value:
        pairs = [
            html(
                '{}<span class="key">{}</span>: {}',
                inner, json.dumps(str(key), ensure_ascii=False), _coloured(one, depth + 1),
            )
            for key, one in value.items()
        ]  # fmt: skip
        return html("{{{}{}}}", join(pairs, ","), outer)
    if isinstance(value, list) and value:
        items = [html("{}{}", inner, _coloured(one, depth + 1)) for one in value]
        return html("[{}{}]", join(items, ","), outer)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return html('<span class="{}">{}</span>', _class_of(value), text)


def _class_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "word"
    return "number" if isinstance(value, (int, float)) else "text"
