"""What the simulated models answer: one function an endpoint."""

from __future__ import annotations

import base64
import math
import re
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.request_lines import (
    CHARACTERS_A_TOKEN,
    Body,
    ChatBody,
    CompletionsBody,
    EmbeddingsBody,
    ImagesBody,
    ModerationsBody,
    ResponsesBody,
    count_tokens,
    each_input,
    last_user_text,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ECHOED_CHARACTERS = 40
DATED = re.compile(r"-(\d{2}|\d{4})$")
DEFAULT_DIMENSIONS = 16
MAX_DIMENSIONS = 3_072
MODERATION_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
TINY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
_quote = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model that answers: its dated name as JSON, the time, and its habits."""

    name: str
    created: int
    suffix: str = ""
    shows_usage: bool = True


Answer = tuple[str, int, int]
"""The JSON of a body, and the tokens read and written for it."""


def dated_name(model: str) -> str:
    """Return the name under which OpenAI answers for a model, for instance with its date."""
    plain = model.startswith(("gpt-", "o1", "o3", "o4")) and not DATED.search(model)
    return f"{model}-2025-08-07" if plain else model


def echo(text: str) -> str:
    """Return the output text for a user's text, which tests can foretell."""
    return "echo:" + text[:ECHOED_CHARACTERS]


CHAT = (
    '{"id":"chatcmpl-%s","object":"chat.completion","created":%d,"model":%s,"choices":[{"index":0,'
    '"message":{"role":"assistant","content":%s,"refusal":null,"annotations":[]},"logprobs":null,'
    '"finish_reason":"stop"}],%s"service_tier":"default","system_fingerprint":"fp_simulator"}'
)
CHAT_USAGE = (
    '"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
    '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},'
)


def _chat(body: ChatBody, unique: str, model: Model) -> Answer:
    text = echo(last_user_text(body)) + model.suffix
    read, written = count_tokens(texts(body)), len(text) // CHARACTERS_A_TOKEN + 1
    usage = CHAT_USAGE % (read, written, read + written) if model.shows_usage else ""
    quoted = _quote(text).decode()
    return CHAT % (unique, model.created, model.name, quoted, usage), read, written


RESPONSE = (
    '{"id":"resp_%s","object":"response","created_at":%d,"status":"completed","background":false,'
    '"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,'
    '"model":%s,"output":[{"id":"msg_%s","type":"message","status":"completed","role":"assistant",'
    '"content":[{"type":"output_text","annotations":[],"logprobs":[],"text":%s}]}],'
    '"parallel_tool_calls":true,"previous_response_id":null,"store":true,"temperature":1.0,'
    '"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,'
    '"truncation":"disabled",%s"user":null,"metadata":{}}'
)
RESPONSE_USAGE = (
    '"usage":{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},'
    '"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d},'
)


def _response(body: ResponsesBody, unique: str, model: Model) -> Answer:
    text = echo(last_user_text(body)) + model.suffix
    read, written = count_tokens(texts(body)), len(text) // CHARACTERS_A_TOKEN + 1
    usage = RESPONSE_USAGE % (read, written, read + written) if model.shows_usage else ""
    quoted = _quote(text).decode()
    answer = RESPONSE % (unique, model.created, model.name, unique, quoted, usage)
    return answer, read, written


def _completion(body: CompletionsBody, unique: str, model: Model) -> Answer:
    prompts = each_input(body.prompt)
    answers = [echo(prompt if isinstance(prompt, str) else "") + model.suffix for prompt in prompts]
    read = count_tokens(texts(body))
    written = sum(len(answer) // CHARACTERS_A_TOKEN + 1 for answer in answers)
    choices = [
        {"text": answer, "index": index, "logprobs": None, "finish_reason": "stop"}
        for index, answer in enumerate(answers)
    ]
    found: dict[str, Any] = {
        "id": f"cmpl-{unique}",
        "object": "text_completion",
        "created": model.created,
        "model": msgspec.Raw(model.name.encode()),
        "choices": choices,
    }
    if model.shows_usage:
        found["usage"] = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }
    return _quote(found).decode(), read, written


def _embedding(body: EmbeddingsBody, unique: str, model: Model) -> Answer:
    del unique
    dimensions = max(1, min(body.dimensions or DEFAULT_DIMENSIONS, MAX_DIMENSIONS))
    as_base64 = body.encoding_format == "base64"
    vectors = [_vector(each, dimensions) for each in each_input(body.input)]
    read = count_tokens(texts(body))
    found: dict[str, Any] = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if as_base64 else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": msgspec.Raw(model.name.encode()),
    }
    if model.shows_usage:
        found["usage"] = {"prompt_tokens": read, "total_tokens": read}
    return _quote(found).decode(), read, 0


def _vector(given: object, dimensions: int) -> list[float]:
    """Return a vector of length one that depends on the input alone."""
    digest = blake2b(given.encode() if isinstance(given, str) else _quote(given)).digest()
    raw = [digest[index % len(digest)] - 127.5 for index in range(dimensions)]
    length = math.sqrt(sum(each * each for each in raw))
    return [round(each / length, 8) for each in raw]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _moderation(body: ModerationsBody, unique: str, model: Model) -> Answer:
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": dict.fromkeys(MODERATION_CATEGORIES, 0.00001),
        "category_applied_input_types": {name: ["text"] for name in MODERATION_CATEGORIES},
    }
    found = {
        "id": f"modr-{unique}",
        "model": msgspec.Raw(model.name.encode()),
        "results": [verdict for _ in each_input(body.input)],
    }
    return _quote(found).decode(), 0, 0


def _image(body: ImagesBody, unique: str, model: Model) -> Answer:
    del unique
    number = max(1, min(body.n or 1, 10))
    read, written = count_tokens(texts(body)), 272 * number
    found: dict[str, Any] = {
        "created": model.created,
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
        "data": [{"b64_json": TINY_PNG}] * number,
    }
    if model.shows_usage:
        found["usage"] = {
            "input_tokens": read,
            "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
            "output_tokens": written,
            "total_tokens": read + written,
        }
    return _quote(found).decode(), read, written


ANSWERERS: dict[str, Callable[[Any, str, Model], Answer]] = {
    "/v1/responses": _response,
    "/v1/chat/completions": _chat,
    "/v1/embeddings": _embedding,
    "/v1/completions": _completion,
    "/v1/moderations": _moderation,
    "/v1/images/generations": _image,
    "/v1/images/edits": _image,
}

REQUIRED = {
    "/v1/responses": "input",
    "/v1/chat/completions": "messages",
    "/v1/embeddings": "input",
    "/v1/completions": "prompt",
    "/v1/moderations": "input",
    "/v1/images/generations": "prompt",
    "/v1/images/edits": "prompt",
}


def missing_parameter(endpoint: str, body: Body) -> str | None:
    """Return the name of the parameter without which there is nothing to answer."""
    name = REQUIRED[endpoint]
    return name if getattr(body, name) is None else None
