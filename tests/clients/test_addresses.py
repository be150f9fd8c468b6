"""Which addresses webhooks may call."""

from __future__ import annotations

import asyncio

import pytest

from batching.errors import ConfigurationError
from clients.addresses import AddressGuard, AddressNotAllowed


def checked(host: str, *, allowed: str = "false", port: int = 80) -> list[str]:
    return asyncio.run(AddressGuard(allowed).check(host, port))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST.",
        "::1", "[::1]", "::ffff:127.0.0.1", "::127.0.0.1", "0.0.0.0", "::", "10.0.0.7",  # noqa: S104 - called, not bound
        "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "fe80::1", "fd00::1", "fec0::1", "ff02::1",
        "2002:7f00:1::", "2002:a00:7::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1",
    ],
)  # fmt: skip
def test_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(AddressNotAllowed, match="OBM_WEBHOOK_ALLOW_PRIVATE"):
        checked(host)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "134744072"]
)
def test_a_public_address_is_let_through(host: str) -> None:
    assert len(checked(host)) == 1


@pytest.mark.parametrize(
    "allowed",
    [
        "true", "TRUE", "127.0.0.1", "127.0.0.0/8", " 10.0.0.0/8 , 127.0.0.1 ", "127.0.0.1:80",
        "127.0.0.0/8:80",
    ],
)  # fmt: skip
def test_what_the_setting_allows_is_let_through(allowed: str) -> None:
    assert checked("127.0.0.1", allowed=allowed) == ["127.0.0.1"]
    assert checked("::ffff:127.0.0.1", allowed=allowed) == ["::ffff:7f00:1"]


@pytest.mark.parametrize("allowed", ["127.0.0.1:81", "10.0.0.0/8", "localhost", "::1", "", "false"])
def test_what_the_setting_does_not_allow_stays_refused(allowed: str) -> None:
    with pytest.raises(AddressNotAllowed):
        checked("127.0.0.1", allowed=allowed)


@pytest.mark.parametrize("allowed", ["localhost", "Localhost", "localhost:80"])
def test_an_allowed_name_may_resolve_to_private_addresses(allowed: str) -> None:
    assert "127.0.0.1" in checked("localhost", allowed=allowed)


def test_a_name_is_allowed_only_at_its_port() -> None:
    with pytest.raises(AddressNotAllowed):
        checked("localhost", allowed="localhost:81")


def test_an_ipv6_address_with_a_port_can_be_allowed() -> None:
    assert checked("::1", allowed="[::1]:8080", port=8080) == ["::1"]


def test_the_refusal_names_the_host_and_its_address() -> None:
    with pytest.raises(AddressNotAllowed, match=r"^localhost resolves to (127\.0\.0\.1|::1),"):
        checked("localhost")


def test_every_faulty_part_of_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AddressGuard("api, 10.0.0.1/8, yes, http://api, 300.1.2.3, api:99999, 10.0.0.0/8")
    told = str(caught.value)
    for part in ("10.0.0.1/8", "yes", "http://api", "300.1.2.3", "api:99999"):
        assert f"'{part}'" in told
    assert "'api'" not in told
    assert "'10.0.0.0/8'" not in told


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70 + ".test"])
def test_a_name_that_nobody_knows_is_an_error_of_the_network(name: str) -> None:
    with pytest.raises((OSError, UnicodeError)):
        checked(name)
