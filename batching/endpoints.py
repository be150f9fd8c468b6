"""The endpoints that a batch may address, and what their bodies mean to us."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One endpoint of OpenAI's batch list."""

    url: str
    counted_fields: tuple[str, ...]
    """Body fields that become input tokens."""
    needs_one_of: tuple[str, ...]
    """A body with none of these cannot be meant for this endpoint."""
    content_field: str
    """The body field that a `prompt` or `input` column of a table fills."""
    output_caps: tuple[str, ...] = ()
    """Body fields that limit the output tokens; the first one that is set counts."""
    answers_with_tokens: bool = True
    counts_embedding_inputs: bool = False


ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        endpoint.url: endpoint
        for endpoint in (
            Endpoint(
                url="/v1/responses",
                counted_fields=("input", "instructions", "prompt", "tools", "text"),
                needs_one_of=(
                    "input",
                    "prompt",
                    "instructions",
                    "previous_response_id",
                    "conversation",
                ),
                content_field="input",
                output_caps=("max_output_tokens",),
            ),
            Endpoint(
                url="/v1/chat/completions",
                counted_fields=("messages", "tools", "functions", "response_format"),
                needs_one_of=("messages",),
                content_field="messages",
                output_caps=("max_completion_tokens", "max_tokens"),
            ),
            Endpoint(
                url="/v1/embeddings",
                counted_fields=("input",),
                needs_one_of=("input",),
                content_field="input",
                answers_with_tokens=False,
                counts_embedding_inputs=True,
            ),
            Endpoint(
                url="/v1/completions",
                counted_fields=("prompt", "suffix"),
                needs_one_of=("prompt",),
                content_field="prompt",
                output_caps=("max_tokens",),
            ),
            Endpoint(
                url="/v1/moderations",
                counted_fields=("input",),
                needs_one_of=("input",),
                content_field="input",
                answers_with_tokens=False,
            ),
            Endpoint(
                url="/v1/images/generations",
                counted_fields=("prompt",),
                needs_one_of=("prompt",),
                content_field="prompt",
            ),
            Endpoint(
                url="/v1/images/edits",
                counted_fields=("prompt",),
                needs_one_of=("prompt",),
                content_field="prompt",
            ),
        )
    }
)


def missing_input(endpoint: Endpoint, body: Mapping[str, object]) -> str | None:
    """Return why the body cannot be meant for this endpoint, or None if it can."""
    if any(body.get(field) is not None for field in endpoint.needs_one_of):
        return None
    wanted = " or ".join(f"`{field}`" for field in endpoint.needs_one_of)
    fitting = sorted(
        other.url
        for other in ENDPOINTS.values()
        if any(body.get(field) is not None for field in other.needs_one_of)
    )
    hint = f"; it looks like a body for {' or '.join(fitting)}" if fitting else ""
    return f"`body` has no {wanted}, which {endpoint.url} needs{hint}"


def build_body(
    endpoint: Endpoint,
    prompt: object,
    *,
    system: str | None = None,
    parameters: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:
    """Return the body, its model apart, of a request that was given as a plain prompt."""
    body = dict(parameters)
    if system and endpoint.url == "/v1/responses":
        body["instructions"] = system
    if endpoint.content_field != "messages":
        body[endpoint.content_field] = prompt
        return body
    user = {"role": "user", "content": prompt}
    body["messages"] = [{"role": "system", "content": system}, user] if system else [user]
    return body
