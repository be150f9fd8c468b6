"""Jobs over REST whose names look like addresses."""

from urllib.parse import quote
from uuid import uuid4

import pytest
from api_process import shown
from factories import Store, chat_lines
from web_process import Web


@pytest.fixture(
    params=["{}/2026/nightly", "{}/results", "/{}/cancel/", "{} %2F? &#", "{}/rejected"]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param).format(f"job-{uuid4().hex}")


def test_a_name_with_slashes_works_at_every_address(
    api_web: Web, api_store: Store, name: str
) -> None:
    api_store.take_in(chat_lines(2, prefix=uuid4().hex), name=name, source_id=uuid4().hex)
    written = f"/api/jobs/{quote(name, safe='')}"
    assert shown(api_web, written)["name"] == name
    for act in ("pause", "resume", "flush", "redeliver", "redeliver-failed"):
        answer = api_web.client.post(f"{written}/{act}")
        assert answer.status_code == 202, (act, answer.text)
    for kind in ("results", "results?format=parquet", "rejected"):
        assert api_web.client.get(f"{written}/{kind}").status_code == 200, kind
    answer = api_web.client.post(f"{written}/cancel")
    assert (answer.status_code, answer.json()["job"], answer.json()["requests"]) == (202, name, 2)


def test_of_two_names_the_one_that_was_written_is_meant(
    api_web: Web, api_store: Store, job: str
) -> None:
    for number, name in enumerate((job, f"{job}/results", f"{job}/cancel")):
        api_store.take_in(chat_lines(number + 1, prefix=name), name=name, source_id=uuid4().hex)
    assert shown(api_web, f"/api/jobs/{job}%2fcancel")["name"] == f"{job}/cancel"
    get, post = api_web.client.get, api_web.client.post
    assert get(f"/api/jobs/{job}/results").headers["content-type"] == "application/x-ndjson"
    assert get(f"/api/jobs/{job}%2Fresults").json()["name"] == f"{job}/results"
    assert get(f"/api/jobs/{job}/cancel").status_code == 405
    assert post(f"/api/jobs/{job}%2Fcancel").status_code == 405
    assert post(f"/api/jobs/{job}%2Fcancel/cancel").json()["requests"] == 3
    assert post(f"/api/jobs/{job}/%63ancel").json() == {"job": job, "requests": 1, "later": 0}
    assert (
        api_store.value(
            "SELECT count(*) FROM requests JOIN jobs USING (job_id) WHERE name = ? "
            "AND state = 'pending'",
            f"{job}/results",
        )
        == 2
    )


def test_a_proxy_may_decode_the_slash(api_web: Web, api_store: Store, job: str) -> None:
    name = f"{job}/a/b"
    api_store.take_in(chat_lines(1, prefix=name), name=name, source_id=uuid4().hex)
    assert shown(api_web, f"/api/jobs/{name}")["name"] == name
    assert api_web.client.get(f"/api/jobs/{name}/results").status_code == 200
    assert api_web.client.post(f"/api/jobs/{name}/pause").status_code == 202
