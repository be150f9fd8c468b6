"""The calls about models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.api_errors import NOT_FOUND, ApiError, json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from simulator.parts import Parts

MODELS = (
    "gpt-5",
    "gpt-5-mini",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "omni-moderation-latest",
    "gpt-image-1",
)
CREATED = 1_754_524_800


async def list_models(parts: Parts, request: Request, account: str) -> Response:
    """List a few models; the simulator answers for any other as well."""
    del parts, request, account
    return json_response({"object": "list", "data": [_model(name) for name in MODELS]})


async def retrieve_model(parts: Parts, request: Request, account: str) -> Response:
    """Show one model."""
    del parts, account
    name = request.path_params["model"]
    if name not in MODELS:
        message = f"The model '{name}' does not exist or you do not have access to it."
        raise ApiError(NOT_FOUND, message, param="model", code="model_not_found")
    return json_response(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}
