"""Rows of CSV and Parquet files as request lines, so that one check serves every format.

A row has either a body column with JSON text, which is kept byte for byte, or a prompt
column from which a body is built with the defaults of the side file. Columns that are not
known are left alone.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from batching.endpoints import ENDPOINTS, build_body
from batching.errors import BadInput
from batching.jobs import JobSettings
from batching.line_faults import Refusal, RefusalCode

_PROMPT_COLUMNS: Final = ("prompt", "input")
_URL_COLUMNS: Final = ("url", "endpoint")


class _NamedModel(msgspec.Struct):
    """What must be known of a body that was given as text."""

    model: msgspec.Raw = msgspec.Raw()


_decode_model = msgspec.json.Decoder(_NamedModel).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


class RowReader:
    """Turns the rows of one table into request lines; made from its column names."""

    def __init__(self, columns: Sequence[str], settings: JobSettings) -> None:
        self._settings = settings
        self._known = {column.strip().lower(): column for column in columns}
        self._custom_id = self._find(settings.custom_id_column)
        self._body = self._find(settings.body_column)
        self._url = self._find(*_named(settings.url_column, _URL_COLUMNS))
        self._prompt = self._find(*_named(settings.prompt_column, _PROMPT_COLUMNS))
        self._model = self._find(settings.model_column)
        self._method = self._find("method")
        self._delivery_config = self._find("delivery_config")
        if missing := list(self._missing()):
            found = ", ".join(columns) or "none"
            raise BadInput(f"the table cannot be read: {'; '.join(missing)} (columns: {found})")

    @property
    def columns(self) -> list[str]:
        """The columns that are read, by the names they have in the table."""
        mine = (self._custom_id, self._url, self._model, self._body, self._prompt)
        return [name for name in (*mine, self._method, self._delivery_config) if name]

    def line_of(self, number: int, row: Mapping[str, Any]) -> bytes | Refusal:
        """Return the request line that the row stands for, or why there is none."""
        url = _cell(row, self._url) or self._settings.url
        body = self._body_of(row, url)
        if isinstance(body, Refusal):
            return body
        given = _cell(row, self._delivery_config)
        destination = None if given is None else _one_value(given)
        if given is not None and destination is None:
            return Refusal(
                code=RefusalCode.INVALID_DESTINATION,
                reason="the delivery_config column does not hold one JSON value",
            )
        parts = (
            (b'"custom_id":', self._custom_id_of(number, row)),
            (b'"method":', _json(_cell(row, self._method) or "POST")),
            (b'"url":', None if url is None else _json(url)),
            (b'"body":', body),
            (b'"delivery_config":', destination),
        )
        return b"{" + b",".join(key + value for key, value in parts if value is not None) + b"}"

    def _find(self, *names: str) -> str | None:
        return next(
            (self._known[name.lower()] for name in names if name.lower() in self._known), None
        )

    def _missing(self) -> list[str]:
        settings = self._settings
        missing = []
        if self._custom_id is None and settings.custom_id == "column":
            missing.append(
                f'there is no column {settings.custom_id_column} (or set "custom_id":"row" '
                "in the side file to name rows by their place)"
            )
        if self._body is None and self._prompt is None:
            missing.append("there is neither a column body nor one named prompt or input")
        if self._url is None and settings.url is None:
            missing.append("there is no column url, and the side file sets no url")
        if self._body is None and self._model is None and settings.model is None:
            missing.append("there is no column model, and the side file sets no model")
        if self._body is not None and settings.parameters:
            missing.append("parameters of the side file only go with a prompt column, not body")
        return missing

    def _custom_id_of(self, number: int, row: Mapping[str, Any]) -> bytes | None:
        if self._settings.custom_id == "row":
            return b'"row-%d"' % number
        value = None if self._custom_id is None else row[self._custom_id]
        return None if value is None else _json(str(value) if type(value) is int else value)

    def _body_of(self, row: Mapping[str, Any], url: object) -> bytes | Refusal | None:
        model = _cell(row, self._model) or self._settings.model
        text, prompt = _cell(row, self._body), _cell(row, self._prompt)
        if text is not None:
            return _given_body(text, model)
        if prompt is None:
            return None
        body = self._built_body(url, prompt)
        return _json(body if model is None else {"model": model, **body})

    def _built_body(self, url: object, prompt: object) -> dict[str, object]:
        endpoint = ENDPOINTS.get(url) if isinstance(url, str) else None
        if endpoint is None:
            return {"prompt": prompt}
        settings = self._settings
        return build_body(endpoint, prompt, system=settings.system, parameters=settings.parameters)


def _named(column: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    return usual if column is None else (column,)


def _cell(row: Mapping[str, Any], column: str | None) -> Any:
    value = None if column is None else row[column]
    return None if value == "" else value


def _given_body(text: object, model: object) -> bytes | Refusal:
    """Return the body as it was given, with the model column's model if it names none."""
    body = _one_value(text)
    if body is None or model is None:
        return body or _refused("the body column does not hold one JSON value")
    try:
        named = _decode_model(body).model
    except msgspec.DecodeError:
        return body
    if not named:
        rest = body[1:].lstrip()
        return b'{"model":' + _json(model) + (b"" if rest.startswith(b"}") else b",") + rest
    if msgspec.json.decode(named) != model:
        return _refused(f"the model column says {json.dumps(model)}, but the body another model")
    return body


def _one_value(text: object) -> bytes | None:
    """Return a cell's JSON text on one line, or None unless it is exactly one JSON value."""
    encoded = str(text).encode("utf-8", "surrogateescape")
    try:
        value = bytes(_decode_raw(encoded))
    except (msgspec.DecodeError, RecursionError):
        return None
    return value.replace(b"\n", b" ")


def _refused(reason: str) -> Refusal:
    return Refusal(code=RefusalCode.INVALID_BODY, reason=reason)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
