"""Everything that may be asked twice: retries, listings, cancels, deletions, uploads."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from batching.errors import (
    AccountRefused,
    BadInput,
    ConfigurationError,
    NotFound,
    ProviderUnavailable,
    RequestRefused,
    StopRequested,
    Throttled,
)
from batching.provider import Phase
from batching.stopping import stop_signal
from clients.openai_batches import OpenAIBatches
from clients.safe_retries import stoppable_pause

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def batch(number: int, *, created_at: datetime | None = NOON) -> dict[str, Any]:
    seconds = None if created_at is None else int(created_at.timestamp())
    return {"id": f"batch_{number}", "status": "in_progress", "created_at": seconds}


def page(*batches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(batches), **more}


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    path = tmp_path / "input.jsonl"
    path.write_bytes(b'{"custom_id":"a"}\n' * 20_000)
    return path


class TestRetries:
    def test_a_get_is_tried_again_after_trouble_that_passes(
        self, server: Any, client: Any, pauses: list[float]
    ) -> None:
        server.refuse(503).say(reset=True).say(batch(1))

        assert client.retrieve("batch_1").id == "batch_1"

        assert len(server.calls) == 3
        assert 0 < pauses[0] < pauses[1]

    def test_it_gives_up_after_three_attempts_and_says_what_was_asked(
        self, server: Any, client: Any
    ) -> None:
        server.refuse(500).refuse(502).refuse(503, "overloaded")

        with pytest.raises(ProviderUnavailable, match=r"batch_1.*503.*overloaded"):
            client.retrieve("batch_1")

        assert len(server.calls) == 3

    def test_a_page_of_a_proxy_with_status_200_is_tried_again(
        self, server: Any, client: Any
    ) -> None:
        server.say(b"<html>busy</html>").say(batch(1))

        assert client.retrieve("batch_1").id == "batch_1"

    def test_an_answer_that_never_makes_sense_is_shown(self, server: Any, client: Any) -> None:
        for _ in range(3):
            server.say(b"<html>a portal</html>")

        with pytest.raises(ProviderUnavailable, match=r"batch_1.*<html>a portal.*OPENAI_BASE_URL"):
            client.retrieve("batch_1")

    def test_a_short_retry_after_is_obeyed(
        self, server: Any, client: Any, pauses: list[float]
    ) -> None:
        server.refuse(429, headers={"Retry-After": "4"}).say(batch(1))

        client.retrieve("batch_1")

        assert pauses == [4.0]

    def test_a_long_retry_after_is_handed_to_the_caller(
        self, server: Any, client: Any, pauses: list[float]
    ) -> None:
        server.refuse(429, headers={"Retry-After": "90"})

        with pytest.raises(Throttled) as caught:
            client.retrieve("batch_1")

        assert (caught.value.retry_after_seconds, pauses) == (90.0, [])

    def test_a_retry_after_may_be_a_date(self, server: Any, client: Any) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        server.refuse(429, headers={"Retry-After": format_datetime(later, usegmt=True)})

        with pytest.raises(Throttled) as caught:
            client.retrieve("batch_1")

        assert caught.value.retry_after_seconds == pytest.approx(3600, abs=60)

    @pytest.mark.parametrize("answer", [b"[" * 5_000, b'{"id":"batch_2","status":"completed"}'])
    def test_an_answer_about_something_else_is_no_answer(
        self, server: Any, client: Any, answer: bytes
    ) -> None:
        for _ in range(3):
            server.say(answer)

        with pytest.raises(ProviderUnavailable, match="batch_1"):
            client.retrieve("batch_1")

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (400, None, RequestRefused),
            (401, "invalid_api_key", AccountRefused),
            (429, "insufficient_quota", AccountRefused),
            (404, None, NotFound),
        ],
    )
    def test_what_will_not_pass_is_asked_once(
        self, server: Any, client: Any, status: int, code: str | None, expected: type[Exception]
    ) -> None:
        server.refuse(status, code=code)

        with pytest.raises(expected, match="batch_1"):
            client.retrieve("batch_1")

        assert len(server.calls) == 1

    def test_a_pause_ends_when_the_process_is_to_stop(self) -> None:
        stop = threading.Event()
        stop.set()

        with stop_signal(stop), pytest.raises(StopRequested):
            stoppable_pause(60)

    def test_an_empty_id_is_not_asked_for(self, server: Any, client: Any) -> None:
        with pytest.raises(NotFound, match="named no file"):
            client.file("")

        assert server.calls == []


class TestHealth:
    def test_the_time_of_the_last_answer_is_kept(self, server: Any, client: Any) -> None:
        before = datetime.now(UTC)
        server.say(page(has_more=False))

        client.check()

        assert before <= client.last_answer_at <= datetime.now(UTC)
        assert server.calls[0].path == "/v1/batches?limit=1"

    def test_an_error_of_the_server_is_no_answer(self, server: Any, client: Any) -> None:
        for _ in range(3):
            server.refuse(500)

        with pytest.raises(ProviderUnavailable):
            client.check()

        assert client.last_answer_at is None

    def test_a_refused_key_is_reported(self, server: Any, client: Any) -> None:
        server.refuse(401, "Incorrect API key provided", code="invalid_api_key")

        with pytest.raises(AccountRefused, match=r"checking the key.*Incorrect API key"):
            client.check()

    @pytest.mark.parametrize("key", [None, "", "  ", "sk-\u2026", "sk-a\nb"])
    def test_a_key_that_cannot_be_one_is_refused_at_the_start(
        self, settings_for: Any, key: str | None
    ) -> None:
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
            OpenAIBatches(settings_for("http://127.0.0.1:9/v1", openai_api_key=key))


class TestListings:
    def test_pages_follow_each_other_by_the_last_id(self, server: Any, client: Any) -> None:
        server.say(page(batch(3), batch(2), has_more=True)).say(page(batch(1), has_more=False))

        assert [found.id for found in client.list_batches()] == ["batch_3", "batch_2", "batch_1"]

        assert [call.path for call in server.calls] == [
            "/v1/batches?limit=100",
            "/v1/batches?after=batch_2&limit=100",
        ]

    def test_without_has_more_it_goes_on_to_an_empty_page(self, server: Any, client: Any) -> None:
        server.say(page(batch(2))).say(page(batch(1))).say(page())

        assert [found.id for found in client.list_batches()] == ["batch_2", "batch_1"]

    def test_a_server_that_repeats_its_page_is_left_alone(self, server: Any, client: Any) -> None:
        for _ in range(2):
            server.say(page(batch(2), batch(1), has_more=True))

        assert [found.id for found in client.list_batches()] == ["batch_2", "batch_1"]

    def test_a_list_that_speaks_of_more_and_shows_the_old_again_is_no_whole_list(
        self, server: Any, client: Any
    ) -> None:
        first, second = page(batch(2), has_more=True), page(batch(1), has_more=True)
        for told in (first, second, first):
            server.say(told)

        with pytest.raises(ProviderUnavailable, match="repeats itself"):
            list(client.list_batches())

        assert len(server.calls) == 3

    def test_a_full_page_that_comes_again_is_no_whole_list(self, server: Any, client: Any) -> None:
        full = page(*(batch(number) for number in range(100)), has_more=True)
        server.say(full).say(full)

        with pytest.raises(ProviderUnavailable, match="repeats itself"):
            list(client.list_batches())

    def test_a_list_without_end_is_given_up(
        self, server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clients.openai_batches.MOST_LISTED", 3)
        for number in range(9):
            server.say(page(batch(number), has_more=True))

        with pytest.raises(ProviderUnavailable, match="no end"):
            list(client.list_batches())

        assert len(server.calls) == 4

    @pytest.mark.parametrize("entry", ["batch_1", None, 7, [], {"id": ["batch_1"]}, {"id": None}])
    def test_an_entry_that_is_no_batch_makes_the_list_unreadable(
        self, server: Any, client: Any, entry: object
    ) -> None:
        server.say({"data": [batch(2), entry], "has_more": False})

        with pytest.raises(ProviderUnavailable, match="no batch but"):
            list(client.list_batches())

    def test_older_batches_end_a_listing_from_new_to_old(self, server: Any, client: Any) -> None:
        old = NOON - timedelta(hours=2)
        server.say(page(batch(2), batch(1, created_at=old), has_more=True))

        found = list(client.list_batches(NOON - timedelta(hours=1)))

        assert [one.id for one in found] == ["batch_2"]
        assert len(server.calls) == 1

    def test_a_listing_from_old_to_new_is_read_to_its_end(self, server: Any, client: Any) -> None:
        old = NOON - timedelta(hours=2)
        server.say(page(batch(1, created_at=old), has_more=True))
        server.say(page(batch(2, created_at=old), has_more=True))
        server.say(page(batch(3), has_more=False))

        found = list(client.list_batches(NOON - timedelta(hours=1)))

        assert [one.id for one in found] == ["batch_3"]

    def test_a_batch_without_a_time_is_never_left_out(self, server: Any, client: Any) -> None:
        server.say(page(batch(1, created_at=None), has_more=False))

        assert [found.id for found in client.list_batches(NOON)] == ["batch_1"]

    def test_files_are_listed_by_purpose(self, server: Any, client: Any) -> None:
        server.say(page({"id": "file-1", "bytes": 3, "filename": "a.jsonl"}, has_more=False))

        (found,) = client.list_files("batch")

        assert (found.id, found.bytes, found.filename) == ("file-1", 3, "a.jsonl")
        assert server.calls[0].path == "/v1/files?limit=1000&purpose=batch"


class TestEndings:
    def test_a_cancel_is_sent_once(self, server: Any, client: Any) -> None:
        server.say({"id": "batch_1", "status": "cancelling"})

        assert client.cancel("batch_1").status == "cancelling"

        assert [(call.method, call.path) for call in server.calls] == [
            ("POST", "/v1/batches/batch_1/cancel")
        ]

    @pytest.mark.parametrize("status", [400, 404, 409, 422])
    def test_a_batch_that_cannot_be_cancelled_is_returned_as_it_is(
        self, server: Any, client: Any, status: int
    ) -> None:
        server.refuse(status, "already completed").say({"id": "batch_1", "status": "completed"})

        assert client.cancel("batch_1").phase is Phase.ENDED

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(401, AccountRefused), (429, Throttled), (500, ProviderUnavailable)],
    )
    def test_other_refusals_of_a_cancel_are_errors(
        self, server: Any, client: Any, status: int, expected: type[Exception]
    ) -> None:
        server.refuse(status)

        with pytest.raises(expected, match="cancelling batch batch_1"):
            client.cancel("batch_1")

        assert len(server.calls) == 1

    @pytest.mark.parametrize("status", [200, 404])
    def test_a_file_that_is_gone_counts_as_deleted(
        self, server: Any, client: Any, status: int
    ) -> None:
        server.say({"id": "file-1", "deleted": True}, status=status)

        client.delete_file("file-1")

        assert [(call.method, call.path) for call in server.calls] == [
            ("DELETE", "/v1/files/file-1")
        ]


class TestUploads:
    def test_an_upload_sends_the_file_with_its_name_and_purpose(
        self, server: Any, client: Any, input_file: Path
    ) -> None:
        server.say({"id": "file-1", "bytes": 360_000})

        assert client.upload(input_file, filename="batch-7.jsonl").id == "file-1"

        sent = server.calls[0].content
        assert input_file.read_bytes() in sent
        assert b'filename="batch-7.jsonl"' in sent
        assert b'name="purpose"\r\n\r\nbatch\r\n' in sent
        assert b"expires_after" not in sent

    def test_openai_is_told_when_to_forget_the_file(
        self, server: Any, settings_for: Any, input_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The proxy in between sees what would go to api.openai.com.
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        client = OpenAIBatches(settings_for("http://api.openai.com/v1"))
        server.say({"id": "file-1"})

        client.upload(input_file, filename="a.jsonl")
        client.close()

        sent = server.calls[0].content
        assert b'name="expires_after[anchor]"\r\n\r\ncreated_at\r\n' in sent
        assert b'name="expires_after[seconds]"\r\n\r\n2592000\r\n' in sent

    def test_an_upload_is_repeated_as_a_whole(
        self, server: Any, client: Any, input_file: Path
    ) -> None:
        server.refuse(503).say(reset=True).say({"id": "file-1"})

        assert client.upload(input_file, filename="a.jsonl").id == "file-1"

        assert [input_file.read_bytes() in call.content for call in server.calls] == [True] * 3

    def test_a_third_failure_of_an_upload_is_reported(
        self, server: Any, client: Any, input_file: Path
    ) -> None:
        server.refuse(503).refuse(503).refuse(503)

        with pytest.raises(ProviderUnavailable, match=r"uploading a\.jsonl"):
            client.upload(input_file, filename="a.jsonl")

        assert len(server.calls) == 3

    def test_a_wish_to_stop_ends_an_upload(
        self, server: Any, client: Any, input_file: Path
    ) -> None:
        server.say({"id": "file-1"})
        stop = threading.Event()
        stop.set()

        with stop_signal(stop), pytest.raises(StopRequested):
            client.upload(input_file, filename="a.jsonl")

    def test_a_missing_input_file_is_named(self, client: Any, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"gone\.jsonl"):
            client.upload(tmp_path / "gone.jsonl", filename="a.jsonl")
