"""What was asked and answered, as tabs: pretty, as plain text, or byte for byte."""

import json
from collections.abc import Mapping
from typing import Any, Final

from dashboards.components.code import code, copied_as, curl, json_view
from dashboards.components.notices import empty
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look
from dashboards.places import Place
from dashboards.wording import number, size
from storage.request_texts import Answer, answer_of, answers_of, body_of, line_of

_TABS: Final = {"": "Request", "response": "Response", "raw": "Raw line", "earlier": "Earlier"}
_MOST_BYTES: Final = 1_000_000
"""A page that carries more than this of one text is of no use to anybody."""


def texts(look: Look, request: Mapping[str, Any]) -> Html:
    """Return the tab that the address asks for."""
    place, directory = look.place, look.site.directory
    tab = place.get("tab")
    if tab == "response":
        body = _response(request, answer_of(directory, request, request["result_id"]))
    elif tab == "raw":
        body = _raw(look, request)
    elif tab == "earlier":
        body = _earlier(look, request)
    else:
        body = _request(look, request)
    return html('<section class="card request-texts">{}{}</section>', _tabs(place, request), body)


def _tabs(place: Place, request: Mapping[str, Any]) -> Html:
    chosen = place.get("tab") if place.get("tab") in _TABS else ""
    names = {name: words for name, words in _TABS.items()
             if name != "earlier" or request["earlier_results"] or chosen == name}  # fmt: skip
    links = join(
        html(
            '<a href="{}"{}>{}</a>', place.link(tab=name or None),
            attributes(aria_current="page" if name == chosen else None), words,
        )
        for name, words in names.items()
    )  # fmt: skip
    return html('<nav class="tabs" aria-label="Texts">{}</nav>', links)


def _request(look: Look, request: Mapping[str, Any]) -> Html:
    body = body_of(look.site.directory, request)
    if body is None:
        return _forgotten("body")
    text, cut = _text(body)
    settings = look.site.settings
    again = {"custom_id": f"{request['custom_id']}-again", "method": "POST", "url": request["url"]}
    line = json.dumps(again, ensure_ascii=False)[:-1] + f', "body": {text}}}'
    command = curl("POST", f"http://{settings.host}:{settings.port}/api/requests", line,
                   with_token=look.visitor.name != "local")  # fmt: skip
    buttons = EMPTY if cut else html(
        '<div class="row">{}{}</div>',
        copied_as(text, words="Copy JSON", said="The body is copied."),
        copied_as(command, words="Copy as curl",
                  said="Copied: sent, it runs as a new request, …-again."),
    )  # fmt: skip
    return html("{}{}", buttons, _pretty(text, label="the request body", cut=cut))


def _response(request: Mapping[str, Any], answer: Answer | None) -> Html:
    if answer is None:
        return _no_answer(request)
    facts = [
        f"status {answer.status_code}" if answer.status_code else None,
        f"finish reason {answer.finish_reason}" if answer.finish_reason else None,
        f"{number(answer.output_tokens)} output tokens" if answer.output_tokens else None,
        answer.model,
        answer.request_id,
    ]
    said = " · ".join(fact for fact in facts if fact)
    text, cut = _text(answer.line)
    parsed = _pretty(_part_of(text, "response") or text, label="the response", cut=cut)
    return html('<p class="muted small">{}</p>{}{}<h3>Whole</h3>{}', said, _problem(answer),
                _extracted(answer), parsed)  # fmt: skip


def _problem(answer: Answer) -> Html:
    if answer.error_code is None and answer.error_message is None:
        return EMPTY
    return html('<div class="notice is-error"><span class="grow"><b>{}</b> {}</span></div>',
                answer.error_code, answer.error_message)  # fmt: skip


def _extracted(answer: Answer) -> Html:
    if not answer.content:
        return EMPTY
    return html("<h3>Text</h3>{}", code(answer.content[:_MOST_BYTES], label="the text"))


def _raw(look: Look, request: Mapping[str, Any]) -> Html:
    """Return both lines byte for byte."""
    body = body_of(look.site.directory, request)
    answer = answer_of(look.site.directory, request, request["result_id"])
    asked = _forgotten("body") if body is None else _line(
        line_of(request, body), title="What was asked", label="the request line")  # fmt: skip
    came = _no_answer(request) if answer is None else _line(
        answer.line, title="What is delivered", label="the result line")  # fmt: skip
    return html("{}{}", asked, came)


def _line(line: bytes, *, title: str, label: str) -> Html:
    text, cut = _text(line)
    note = f"{size(len(line))}, the first {size(_MOST_BYTES)} are shown" if cut else size(len(line))
    return html('<h3>{} <span class="muted small">{}</span></h3>{}', title, note,
                code(text, label=label))  # fmt: skip


def _earlier(look: Look, request: Mapping[str, Any]) -> Html:
    found = answers_of(look.site.directory, request, request["earlier_results"])
    if not found:
        return empty("No earlier result", "Nothing of an earlier round was kept.")
    return join(
        html(
            '<h3>Result {} <span class="muted small">{}</span></h3>{}{}', answer.result_id,
            answer.status or "", _problem(answer), _pretty(*_told(answer)),
        )
        for answer in found
    )  # fmt: skip


def _told(answer: Answer) -> tuple[str, str, bool]:
    text, cut = _text(answer.line)
    return text, f"the result {answer.result_id}", cut


def _pretty(text: str, label: str, cut: bool) -> Html:  # noqa: FBT001 - always given by place
    if cut:
        return html('<p class="muted small">The first {} are shown.</p>{}', size(_MOST_BYTES),
                    code(text, label=label))  # fmt: skip
    try:
        return json_view(json.loads(text), label=label)
    except ValueError:
        return code(text, label=label)


def _part_of(line: str, name: str) -> str | None:
    """Return a member of a result line, as JSON; None if there is none."""
    try:
        found = json.loads(line)[name]
    except (ValueError, KeyError, TypeError):
        return None
    return None if found is None else json.dumps(found, ensure_ascii=False)


def _text(line: bytes) -> tuple[str, bool]:
    return line[:_MOST_BYTES].decode(errors="replace"), len(line) > _MOST_BYTES


def _no_answer(request: Mapping[str, Any]) -> Html:
    if request["result_id"] is not None:
        return _forgotten("result")
    return empty("No response yet", "It stands here as soon as its batch is collected.")


def _forgotten(what: str) -> Html:
    return empty(f"The {what} is gone", f"The file with its {what} is not there any more.")
