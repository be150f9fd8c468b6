"""Token caps over REST."""

from uuid import uuid4

import pytest
from factories import Store
from web_process import StartWeb, Web


@pytest.fixture
def model() -> str:
    return f"org/model-{uuid4().hex}"


def caps(web: Web, model: str) -> list[dict[str, object]]:
    items = web.client.get("/api/token-caps").json()["items"]
    return [cap for cap in items if cap["model"] == model]


def test_a_cap_is_set_listed_and_reset(api_web: Web, api_store: Store, model: str) -> None:
    new = {"model": model, "tokens": 2_000_000}
    answer = api_web.client.post("/api/token-caps", json=new)
    assert (answer.status_code, answer.json()) == (
        200, {"model": model, "tokens": 2_000_000, "before": None, "forgotten": 0}
    )  # fmt: skip
    again = api_web.client.post("/api/token-caps", json=new | {"tokens": 5})
    assert again.json()["before"] == 2_000_000
    assert [cap["tokens"] for cap in caps(api_web, model)] == [5]
    assert api_web.client.get("/api/stats/token_caps").status_code == 200
    assert api_web.client.delete(f"/api/token-caps/{model}").status_code == 204
    assert api_web.client.delete(f"/api/token-caps/{model}").status_code == 404
    assert not api_store.rows("SELECT * FROM token_caps WHERE model = ?", model)
    told = api_store.rows(
        "SELECT target, actor FROM transitions WHERE entity = 'token_cap' AND entity_id = ? "
        "ORDER BY rowid",
        model,
    )
    assert [row["target"] for row in told] == ["set", "set", "reset"]
    assert {row["actor"] for row in told} == {"api:local"}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"model": "m"}, {"model": "m", "tokens": 0}, {"model": "m", "tokens": "5"},
        {"model": "m", "tokens": 1.5}, {"model": "", "tokens": 5}, {"model": "  ", "tokens": 5},
        {"model": "a b", "tokens": 5}, {"model": "m", "tokens": 10**13},
        {"model": "m", "tokens": 5, "more": 1},
    ],
)  # fmt: skip
def test_what_is_no_cap_is_refused(api_web: Web, body: dict[str, object]) -> None:
    answer = api_web.client.post("/api/token-caps", json=body)
    assert answer.status_code == 422, answer.text


def test_a_cap_may_be_set_before_anything_was_taken_in(start_web: StartWeb) -> None:
    web = start_web()
    assert web.client.get("/api/token-caps").json() == {"items": []}
    assert web.client.post("/api/token-caps", json={"model": "o3", "tokens": 7}).is_success
    assert [cap["tokens"] for cap in caps(web, "o3")] == [7]
