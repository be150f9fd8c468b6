"""The file in which an operator names destinations."""

import pytest

from batching.errors import ConfigurationError
from batching.named_destinations import NamedRabbitMQ, NamedWebhook, read_definitions

GOOD = """
[crm]
type = "webhook"
url = "https://example.com/results"
mode = "batch"
secrets = ["env:CRM_SECRET", "file:/run/secrets/old"]
headers = { Authorization = "env:CRM_TOKEN", X-Team = "search" }
final_statuses = [400, 422]

[warehouse]
type = "rabbitmq"
exchange = "results"
routing_key = "answers"
"""


def test_webhooks_and_queues_are_named_with_their_options() -> None:
    found = read_definitions(GOOD, place="destinations.toml")
    crm, warehouse = found["crm"], found["warehouse"]
    assert isinstance(crm, NamedWebhook)
    assert crm.secrets == ("env:CRM_SECRET", "file:/run/secrets/old")
    assert crm.final_statuses == {400, 422}
    assert isinstance(warehouse, NamedRabbitMQ)
    assert warehouse.routing_key == "answers"


def test_an_empty_file_names_nothing() -> None:
    assert read_definitions("", place="x") == {}


def test_all_faults_are_named_at_once() -> None:
    text = """
[a]
type = "webhook"
url = "ftp://example.com"
secrets = ["whsec_in_clear"]
colour = "red"
[b]
type = "rabbitmq"
[c]
type = "pigeon"
"""
    with pytest.raises(ConfigurationError) as caught:
        read_definitions(text, place="destinations.toml")
    for words in ("destinations.toml", "a.", "http://", "env:NAME", "colour", "b", "queue", "c"):
        assert words in str(caught.value)
    assert "in_clear" not in str(caught.value)


def test_a_file_that_is_no_toml_is_refused_with_its_fault() -> None:
    with pytest.raises(ConfigurationError, match="is not TOML"):
        read_definitions("[crm", place="x")


def test_only_a_queue_can_be_declared() -> None:
    text = '[w]\ntype = "rabbitmq"\nexchange = "e"\ndeclare = true\n'
    with pytest.raises(ConfigurationError, match="declare"):
        read_definitions(text, place="x")
