import json
from typing import Any

import pytest

from batching.destinations import (
    Reach,
    canonical_json,
    parse_destination,
    read_destination,
    shown_config,
    target_of,
)
from batching.errors import BadInput


@pytest.mark.parametrize(
    ("config", "canonical"),
    [
        ({"type": "file"}, '{"type":"file"}'),
        (
            {"webhook_url": "HTTPS://host:8443/p?q=ü", "type": "webhook"},
            '{"type":"webhook","webhook_url":"HTTPS://host:8443/p?q=ü"}',
        ),
        (
            {"type": "rabbitmq", "rabbitmq_queue": "q"},
            '{"rabbitmq_queue":"q","type":"rabbitmq"}',
        ),
        (
            {"type": "rabbitmq", "exchange": "e", "routing_key": "k"},
            '{"rabbitmq_exchange":"e","rabbitmq_routing_key":"k","type":"rabbitmq"}',
        ),
        (
            {"type": "rabbitmq", "rabbitmq_exchange": "e", "rabbitmq_routing_key": "k"},
            '{"rabbitmq_exchange":"e","rabbitmq_routing_key":"k","type":"rabbitmq"}',
        ),
        ({"name": "n", "type": "named"}, '{"name":"n","type":"named"}'),
    ],
)
def test_every_kind_of_destination_has_one_canonical_form(
    config: dict[str, Any], canonical: str
) -> None:
    destination = read_destination(config)
    assert canonical_json(destination) == canonical
    assert parse_destination(canonical) == destination


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, '"type" is missing'),
        ({"type": "bird"}, "must be one of"),
        ([], "object"),
        ({"type": "file", "path": "/x"}, "path: is not a known key"),
        ({"type": "webhook"}, "webhook_url: is missing"),
        ({"type": "webhook", "webhook_url": 7}, "must be a string"),
        ({"type": "webhook", "webhook_url": "ftp://host"}, "http://"),
        ({"type": "webhook", "webhook_url": "https://"}, "names no host"),
        ({"type": "webhook", "webhook_url": "http://h:port/"}, "is not a URL"),
        ({"type": "webhook", "webhook_url": "http://h/a b"}, "spaces"),
        ({"type": "webhook", "webhook_url": "http://h/" + "x" * 3_000}, "2000"),
        ({"type": "rabbitmq"}, "is missing"),
        ({"type": "rabbitmq", "rabbitmq_queue": ""}, "is missing"),
        ({"type": "rabbitmq", "rabbitmq_queue": "q", "exchange": "e"}, "either"),
        ({"type": "rabbitmq", "routing_key": "k"}, "is missing"),
        ({"type": "named", "name": ""}, "must not be empty"),
    ],
)
def test_a_faulty_destination_is_refused_with_its_fault(config: object, words: str) -> None:
    with pytest.raises(BadInput, match="delivery_config: ") as caught:
        read_destination(config)
    assert words in str(caught.value)


def test_all_faults_of_a_destination_are_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        read_destination({"type": "webhook", "webhook_url": 5, "user": "u", "password": "p"})
    for name in ("webhook_url", "user", "password"):
        assert name in str(caught.value)
    assert "5" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"type":"file","type":"file"}', "{", ""])
def test_a_text_that_is_no_plain_object_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_destination(text)


def test_only_what_is_set_up_can_be_delivered_to() -> None:
    queue = read_destination({"type": "rabbitmq", "rabbitmq_queue": "q"})
    named = read_destination({"type": "named", "name": "crm"})
    secret = read_destination({"type": "webhook", "webhook_url": "https://u:p@h/a?b=c"})
    open_one = read_destination({"type": "webhook", "webhook_url": "https://h/@me?user=a@b.c"})
    nothing, everything = Reach(), Reach(names=frozenset({"crm"}), has_broker=True)
    assert nothing.why_not(read_destination({"type": "file"})) is None
    assert "RABBITMQ_URL" in str(nothing.why_not(queue))
    assert "'crm'" in str(nothing.why_not(named))
    assert "named destination" in str(everything.why_not(secret))
    assert "u:p" not in str(everything.why_not(secret))
    assert everything.why_not(open_one) is None
    assert everything.why_not(queue) is everything.why_not(named) is None
    assert json.loads(canonical_json(named))["name"] == "crm"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://h/a", "https://h/a"),
        ("https://h:8443/a?key=secret&b=1#part", "https://h:8443/a?***#***"),
        ("http://user:secret@[::1]:81/", "http://[::1]:81/"),
    ],
)
def test_readers_see_an_address_without_what_may_be_secret(address: str, shown: str) -> None:
    text = canonical_json(read_destination({"type": "webhook", "webhook_url": address}))
    assert shown_config(text) == {"type": "webhook", "webhook_url": shown}
    queue = {"type": "rabbitmq", "rabbitmq_queue": "a?b"}
    assert shown_config(canonical_json(read_destination(queue))) == queue


@pytest.mark.parametrize(
    ("config", "target"),
    [
        ({"type": "file"}, "file"),
        (
            {"type": "webhook", "webhook_url": "HTTPS://Example.com/a?b=1"},
            "https://example.com:443",
        ),
        ({"type": "webhook", "webhook_url": "http://u:p@h:81/a"}, "http://h:81"),
        ({"type": "webhook", "webhook_url": "http://[::1]/"}, "http://[::1]:80"),
        ({"type": "rabbitmq", "rabbitmq_queue": "q"}, "q"),
        ({"type": "rabbitmq", "exchange": "x", "routing_key": "k"}, "x/k"),
        ({"type": "named", "name": "crm"}, "crm"),
    ],
)
def test_addresses_of_one_server_share_a_target(config: dict[str, str], target: str) -> None:
    found = target_of(read_destination(config))
    assert found == (target if config["type"] == "file" else f"{config['type']}:{target}")
