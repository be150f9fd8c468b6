"""Keeping web pages away from a server that anybody on this machine may use without a token.

A page of a foreign site can let the browser send requests to this machine. Either it says where
it comes from (`Origin`), or its own name was made to point here (`Host`, DNS rebinding).
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from starlette.types import Scope


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens there."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def why_foreign(headers: Iterable[tuple[bytes, bytes]], own_host: str) -> str | None:
    """Return why a request may come from a foreign page, or None if it cannot."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_ours(hosts[0], own_host):
        return "the Host header must name this machine (localhost, 127.0.0.1 or OBM_HOST)"
    own_origins = (b"http://" + hosts[0].lower(), b"https://" + hosts[0].lower())
    for name, value in headers:
        if name == b"origin" and value.lower() not in own_origins:
            return "pages of other sites may not use this server: the Origin header names one"
    return None


@lru_cache(maxsize=64)
def _is_ours(value: bytes, own_host: str) -> bool:
    host = value.decode("latin-1")
    if not host.endswith("]"):
        name, colon, port = host.rpartition(":")
        if colon and port.isdecimal():
            host = name
    return is_loopback(host) or host.strip("[]").lower() == own_host.lower()


def is_same_origin(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a page of ours sends this; what does not say where it comes from is not.

    Browsers of today say it themselves, whatever a proxy makes of the names. For the others, a
    proxy says in X-Forwarded-Host how it is called; foreign pages can set neither header.
    """
    said = {name: value.lower() for name, value in headers if name in _TELLING}
    if (site := said.get(b"sec-fetch-site")) is not None:
        return site == b"same-origin"
    origin = said.get(b"origin")
    hosts = (said.get(b"host"), said.get(b"x-forwarded-host"))
    return any(origin in {b"http://" + host, b"https://" + host} for host in hosts if host)


def is_encrypted(scope: Scope) -> bool:
    """Return whether the browser speaks https, with us or with a proxy before us."""
    headers = dict(scope["headers"])
    return (
        scope.get("scheme") == "https"
        or headers.get(b"x-forwarded-proto") == b"https"
        or headers.get(b"origin", b"").startswith(b"https:")
    )


_TELLING: Final = frozenset({b"origin", b"sec-fetch-site", b"host", b"x-forwarded-host"})
