"""The lines of an input file: their shapes and the text that they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

CHARACTERS_A_TOKEN = 4


class Part(msgspec.Struct):
    """One part of a message's content; only text counts here."""

    text: str | None = None


class Message(msgspec.Struct):
    """One message or item of a conversation."""

    role: str = ""
    content: str | list[Part] | None = None


class Body(msgspec.Struct):
    """What all bodies have."""

    model: str
    stream: bool | None = None


class ChatBody(Body):
    """Body of a chat completion."""

    messages: list[Message] | None = None


class ResponsesBody(Body):
    """Body of a response."""

    input: str | list[Message] | None = None
    instructions: str | None = None


class EmbeddingsBody(Body):
    """Body of an embedding: one input or a list of them, as text or as tokens."""

    input: str | list[str | int | list[int]] | None = None
    dimensions: int | None = None
    encoding_format: str = "float"


class CompletionsBody(Body):
    """Body of an old-style completion."""

    prompt: str | list[str | int | list[int]] | None = None


class ModerationsBody(Body):
    """Body of a moderation."""

    input: str | list[str | Part] | None = None


class ImagesBody(Body):
    """Body of an image generation or edit."""

    prompt: str | None = None
    n: int | None = None


BODIES: dict[str, type[Body]] = {
    "/v1/responses": ResponsesBody,
    "/v1/chat/completions": ChatBody,
    "/v1/embeddings": EmbeddingsBody,
    "/v1/completions": CompletionsBody,
    "/v1/moderations": ModerationsBody,
    "/v1/images/generations": ImagesBody,
    "/v1/images/edits": ImagesBody,
}


class RawLine(msgspec.Struct):
    """A line whose body is left as it is."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


def line_decoder(body: type[Body]) -> Callable[[bytes], Any]:
    """Return a decoder for whole lines with a body of this type."""
    line = msgspec.defstruct(
        "Line", [("custom_id", str), ("method", str), ("url", str), ("body", body)]
    )
    return msgspec.json.Decoder(line).decode


def texts(body: Body) -> list[str]:
    """Return every text that a body asks the model to read, the newest last."""
    if isinstance(body, ChatBody):
        return _message_texts(body.messages or [])
    if isinstance(body, ResponsesBody):
        first = [body.instructions] if body.instructions else []
        rest = [body.input] if isinstance(body.input, str) else _message_texts(body.input or [])
        return first + rest
    if isinstance(body, ImagesBody):
        return [body.prompt or ""]
    if isinstance(body, CompletionsBody):
        return _input_texts(body.prompt)
    if isinstance(body, EmbeddingsBody | ModerationsBody):
        return _input_texts(body.input)
    return []


def last_user_text(body: Body) -> str:
    """Return the newest thing the user said."""
    messages: object = None
    if isinstance(body, ChatBody):
        messages = body.messages
    elif isinstance(body, ResponsesBody):
        messages = body.input
    if isinstance(messages, list):
        for message in reversed(messages):
            if message.role == "user":
                found = _content_texts(message.content)
                return found[-1] if found else ""
    found = texts(body)
    return found[-1] if found else ""


def count_tokens(found: list[str]) -> int:
    """Return about how many tokens these texts have: one for every four characters."""
    return sum(map(len, found)) // CHARACTERS_A_TOKEN + 1


def count_inputs(body: Body) -> int:
    """Return how many embedding inputs a body holds."""
    if not isinstance(body, EmbeddingsBody):
        return 0
    return len(each_input(body.input))


def each_input(given: object) -> list[Any]:
    """Return a list of inputs, one for each thing to be answered."""
    if not isinstance(given, list):
        return [given]
    return [given] if given and isinstance(given[0], int) else given


def _message_texts(messages: list[Message]) -> list[str]:
    found: list[str] = []
    for message in messages:
        if type(message.content) is str:
            found.append(message.content)
        else:
            found += _content_texts(message.content)
    return found


def _content_texts(content: str | list[Part] | None) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part.text for part in content or [] if part.text]


def _input_texts(given: object) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return []
    # Token arrays count as four characters a token, to come out as they went in.
    return [_one_input_text(each) for each in given]


def _one_input_text(given: object) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, Part):
        return given.text or ""
    return " " * CHARACTERS_A_TOKEN * (len(given) if isinstance(given, list) else 1)
