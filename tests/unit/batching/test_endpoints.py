import json

import pytest

from batching.endpoints import ENDPOINTS, build_body, missing_input
from batching.requests import ReadingRules, ReadRequest, read_request


def test_the_endpoints_are_those_of_the_batch_list_without_videos() -> None:
    assert set(ENDPOINTS) == {
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
    }


@pytest.mark.parametrize("url", list(ENDPOINTS))
def test_a_body_built_from_a_prompt_is_accepted_by_its_endpoint(url: str) -> None:
    body = build_body(ENDPOINTS[url], "Hi", system="Be brief", parameters={"seed": 1})
    envelope = {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", **body}}
    assert isinstance(read_request(json.dumps(envelope).encode(), ReadingRules()), ReadRequest)
    assert body["seed"] == 1


def test_a_system_text_goes_where_the_endpoint_expects_it() -> None:
    chat = build_body(ENDPOINTS["/v1/chat/completions"], "Hi", system="Be brief")
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi"},
    ]
    responses = build_body(ENDPOINTS["/v1/responses"], "Hi", system="Be brief")
    assert responses == {"instructions": "Be brief", "input": "Hi"}


def test_a_body_for_another_endpoint_is_recognised() -> None:
    reason = missing_input(ENDPOINTS["/v1/embeddings"], {"messages": []})
    assert reason is not None
    assert "/v1/chat/completions" in reason
