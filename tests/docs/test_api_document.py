"""docs/api.md names every address that the server has."""

import re

from documents import ROOT
from fastapi.routing import APIRoute

from receivers.application import ROUTERS
from receivers.intake_contract import INTAKE_PATHS

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_every_address_is_described() -> None:
    told = {tuple(found) for found in re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", TEXT)}
    served = {
        (method, route.path.replace(":path}", "}"))
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and not route.path.startswith("/api/swaggerui")
        for method in route.methods - {"HEAD"}
    } | {("POST", path) for path in INTAKE_PATHS}
    assert told == served
