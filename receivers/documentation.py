"""The OpenAPI document and the page that shows it; nothing of it comes from elsewhere."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from receivers.answers import api_error
from receivers.intake_contract import COMPONENTS, INTAKE_PATHS

OPENAPI_PATH: Final = "/api/openapi"
PAGE_PATH: Final = "/api/swaggerui"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PACKAGE: Final = "fastapi_standalone_docs"
"""Carries Swagger UI as it is published; nothing else of the package is used."""
_ASSETS: Final[Mapping[str, str]] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_START_SCRIPT: Final = f"""\
window.ui = SwaggerUIBundle({{
  url: "{OPENAPI_PATH}", dom_id: "#page", deepLinking: true, persistAuthorization: false,
  validatorUrl: null,
}});
"""
_PAGE: Final = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>OpenAI Batch Manager: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{PAGE_PATH}/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="{PAGE_PATH}/swagger-ui-bundle.js"></script>
<script src="{PAGE_PATH}/start.js"></script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get(PAGE_PATH)
def show_page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get(PAGE_PATH + "/{name}")
def show_asset(name: str) -> Response:
    """Return what the page is made of."""
    if name == "start.js":
        return Response(_START_SCRIPT, media_type="text/javascript")
    if name not in _ASSETS:
        raise api_error(404, "not_found", "Not Found", f"the page has no part called {name!r}")
    content = files(_PACKAGE).joinpath("static", "swagger", name).read_bytes()
    headers = {"Cache-Control": "private, max-age=86400"}
    return Response(content, media_type=_ASSETS[name], headers=headers)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: FastAPI's own, and the intake that stands in front of it."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    for path, operations in INTAKE_PATHS.items():
        described["paths"].setdefault(path, {}).update(operations)
    components = described.setdefault("components", {})
    for kind, parts in COMPONENTS.items():
        components.setdefault(kind, {}).update(parts)
    described["security"] = [{"token": []}, {}]
    return described
