"""Which addresses webhooks may call: public ones, and those that the operator has allowed."""

import asyncio
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from batching.errors import ConfigurationError, TerminalError

SETTING: Final = "OBM_WEBHOOK_ALLOW_PRIVATE"

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_NAME = re.compile(r"(?=.*[a-z])(?!0x)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_WITH_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+):(?P<port>\d{1,5})")
_OTHER_SWITCHES: Final = frozenset({"yes", "no", "on", "off", "none", "all"})
_LARGEST_PORT = 65_535
_IPV4_MASK = 0xFFFF_FFFF
_TRANSLATED = ip_network("64:ff9b::/96")
_NEVER_PUBLIC = (
    # Python calls these global, although they lead into networks of one's own.
    ip_network("::/96"),
    ip_network("64:ff9b:1::/48"),
    ip_network("fec0::/10"),
)


class AddressNotAllowed(TerminalError):
    """A webhook's host is, or resolves to, a private address that no setting allows."""


@dataclass(frozen=True, slots=True)
class _Allowed:
    """One part of the setting: a name or a network, at one port or at all."""

    target: str | _Network
    port: int | None = None

    def takes(self, host: str | _Address, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        if isinstance(host, str) or isinstance(self.target, str):
            return host == self.target
        return host.version == self.target.version and host in self.target


class AddressGuard:
    """Resolves hosts, and lets through only what is public or allowed."""

    def __init__(self, allowed: str) -> None:
        """Take the setting: `false`, `true`, or hosts, addresses and networks with commas."""
        parts = [part.strip().lower() for part in allowed.split(",") if part.strip()]
        self._allows_all = parts == ["true"]
        self._allowed = [] if parts in ([], ["true"], ["false"]) else _read_parts(parts)

    async def check(self, host: str, port: int) -> list[str]:
        """Return the addresses of the host, each one fit to be called.

        They are resolved once: whoever calls must connect to one of them, not to the name,
        which might mean another address a moment later. OSError: the name is not known.
        """
        name = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
        addresses = await _resolve(name, port)
        if not self._allows_all and not self._takes(name, port):
            for address in addresses:
                self._demand(address, name, port)
        return [str(address) for address in addresses]

    def _demand(self, address: _Address, name: str, port: int) -> None:
        if all(self._takes(each, port) or _is_public(each) for each in _meant_by(address)):
            return
        told = f"{name} is" if str(address) == name else f"{name} resolves to {address},"
        raise AddressNotAllowed(
            f"{told} an address that is not public, so it is not called. "
            f"If it is yours, add it to {SETTING}."
        )

    def _takes(self, host: str | _Address, port: int) -> bool:
        return any(each.takes(host, port) for each in self._allowed)


def _read_parts(parts: list[str]) -> list[_Allowed]:
    read = [(part, _read_part(part)) for part in parts]
    if faulty := [part for part, allowed in read if allowed is None]:
        raise ConfigurationError(
            f"{SETTING} cannot be read: {', '.join(map(repr, faulty))}. "
            "It is false, true, or a list with commas of host names (api), hosts with ports "
            "(api:8080), addresses (10.0.0.7, [::1]:8080) and networks (10.0.0.0/8)."
        )
    return [allowed for _, allowed in read if allowed is not None]


def _read_part(part: str) -> _Allowed | None:
    if (target := _read_target(part)) is not None:
        return _Allowed(target)
    match = _WITH_PORT.fullmatch(part)
    if match is None or not 0 < int(match["port"]) <= _LARGEST_PORT:
        return None
    target = _read_target(match["host"])
    return None if target is None else _Allowed(target, int(match["port"]))


def _read_target(text: str) -> str | _Network | None:
    try:
        return ip_network(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        is_name = _NAME.fullmatch(text) and text not in {"true", "false", *_OTHER_SWITCHES}
        return text if is_name else None


async def _resolve(name: str, port: int) -> list[_Address]:
    try:
        return [ip_address(name)]
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return [ip_address(each) for each in dict.fromkeys(str(entry[4][0]) for entry in found)]


def _meant_by(address: _Address) -> Iterator[_Address]:
    """Yield the address where the packets may end: IPv4 wrapped in IPv6, or itself."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _TRANSLATED:
        yield IPv4Address(int(address) & _IPV4_MASK)
    else:
        yield address


def _is_public(address: _Address) -> bool:
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _NEVER_PUBLIC)
