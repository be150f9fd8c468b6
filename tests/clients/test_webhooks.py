"""Single results on their way to a receiver in another process."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks.webhooks import Webhook
from web_receiver import (
    Behaviour,
    WebReceiver,
    answers,
    answers_early,
    delays,
    first,
    hangs_up_silently,
    never_answers,
    redirects,
    resets_at_connect,
    resets_mid_body,
    throttles,
    trickles,
)

from batching.deliveries import Message, Outcome, Reply
from batching.errors import ConfigurationError
from batching.push_options import WebhookOptions
from batching.settings import Settings
from clients.addresses import AddressGuard
from clients.webhooks import WebhookSender, default_sender_options

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example
LARGE_BODY_BYTES = 20_000_000


@pytest.fixture(scope="module")
def process() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(process: WebReceiver) -> WebReceiver:
    process.reset()
    return process


def message(number: int = 1, **changes: Any) -> Message:
    custom_id = changes.pop("custom_id", f"row-{number}")
    known = {
        "delivery_id": number,
        "key": f"obm-abc-{number}",
        "request_id": f"request-{number}",
        "custom_id": custom_id,
        "payload": json.dumps({"custom_id": custom_id, "text": "größer"}).encode(),
    }
    return Message(**(known | changes))


def sent(url: str, *messages: Message, allowed: str = "127.0.0.1", **options: Any) -> list[Reply]:
    """Send one after the other over one sender."""

    async def send() -> list[Reply]:
        sender = WebhookSender(WebhookOptions(**options), guard=AddressGuard(allowed))
        try:
            return [await sender.send(url, each) for each in messages]
        finally:
            await sender.aclose()

    return asyncio.run(send())


def outcome_of(receiver: WebReceiver, behaviour: Behaviour, **options: Any) -> Reply:
    receiver.set_behaviour("/", behaviour)
    (reply,) = sent(receiver.url("/hook"), message(), **options)
    return reply


def test_the_payload_arrives_verbatim_with_the_names_of_its_request(receiver: WebReceiver) -> None:
    (reply,) = sent(receiver.url("/hook?a=1#part"), message())
    (post,) = receiver.received()
    assert (reply.outcome, reply.status_code, reply.excerpt) == (Outcome.SUCCESS, 200, None)
    assert (post.path, post.body) == ("/hook?a=1", message().payload)
    assert post.headers["content-type"] == "application/json"
    assert post.headers["idempotency-key"] == "obm-abc-1"
    assert post.headers["x-batcher-request-id"] == "request-1"
    assert post.headers["x-batcher-custom-id"] == "row-1"
    assert post.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert post.headers["user-agent"].startswith("openai-batch-manager/")
    assert not [name for name in post.headers if name.startswith("webhook-")]


@pytest.mark.parametrize(
    ("custom_id", "told"),
    [
        ("a b", "a b"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("a\r\nx: y", "a%0D%0Ax%3A%20y"),
        (" a", "%20a"),
    ],
)
def test_a_custom_id_that_is_no_plain_text_is_percent_encoded(
    receiver: WebReceiver, custom_id: str, told: str
) -> None:
    sent(receiver.url(), message(custom_id=custom_id))
    assert receiver.received()[0].headers["x-batcher-custom-id"] == told


def test_a_post_is_signed_with_every_secret(receiver: WebReceiver) -> None:
    sent(receiver.url(), message(), secrets=(SECRET, "in plain words"))
    (post,) = receiver.received()
    assert post.headers["webhook-id"] == post.headers["idempotency-key"]
    Webhook(SECRET).verify(post.body, post.headers)
    Webhook(b"in plain words").verify(post.body, post.headers)


def test_own_headers_go_with_every_post_and_may_replace_plain_ones(receiver: WebReceiver) -> None:
    own = (("Authorization", "Bearer abc"), ("Content-Type", "application/vnd.x+json"))
    sent(receiver.url(), message(), headers=(*own, ("User-Agent", "mine")))
    headers = receiver.received()[0].headers
    assert headers["authorization"] == "Bearer abc"
    assert headers["content-type"] == "application/vnd.x+json"
    assert headers["user-agent"] == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("Host", "x"), ("content-length", "0"), ("Webhook-Id", "1"), ("x y", "1"), ("x", "a\r\nb: c")],
)
def test_a_header_that_would_break_the_post_is_refused_at_once(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=repr(name)):
        WebhookSender(WebhookOptions(headers=((name, value),)), guard=AddressGuard("false"))


def test_user_and_password_in_the_url_become_a_header(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", answers(401, "not Basic dXNlcjpwYXNzd29yZA=="))
    url = receiver.url().replace("http://", "http://user:password@")
    (reply,) = sent(url, message())
    assert receiver.received()[0].headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
    assert reply.excerpt == "not ***"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (201, Outcome.SUCCESS), (204, Outcome.SUCCESS), (400, Outcome.HTTP_STATUS_NOT_2XX),
        (401, Outcome.AUTHORIZATION_ERROR), (403, Outcome.AUTHORIZATION_ERROR),
        (404, Outcome.HTTP_STATUS_NOT_2XX), (410, Outcome.GONE), (429, Outcome.THROTTLED),
        (500, Outcome.HTTP_STATUS_NOT_2XX), (502, Outcome.THROTTLED), (503, Outcome.THROTTLED),
        (504, Outcome.THROTTLED), (304, Outcome.HTTP_STATUS_NOT_2XX),
    ],
)  # fmt: skip
def test_each_status_has_its_outcome(receiver: WebReceiver, status: int, outcome: Outcome) -> None:
    body = "" if status in {204, 304} else "because"
    reply = outcome_of(receiver, answers(status, body))
    assert (reply.outcome, reply.status_code) == (outcome, status)
    assert reply.excerpt == (body or None)


def test_a_redirect_is_told_but_not_followed(receiver: WebReceiver) -> None:
    reply = outcome_of(receiver, redirects("http://127.0.0.1/other"))
    assert (reply.outcome, reply.status_code) == (Outcome.HTTP_STATUS_NOT_2XX, 302)
    assert "points to http://127.0.0.1/other" in (reply.excerpt or "")
    assert receiver.count == 1


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("999999", 86_400), ("0", 0)])
def test_a_pause_in_seconds_is_handed_on_but_bounded(
    receiver: WebReceiver, said: str, seconds: float
) -> None:
    reply = outcome_of(receiver, throttles(said))
    assert (reply.outcome, reply.retry_after_seconds) == (Outcome.THROTTLED, seconds)


def test_a_pause_until_a_date_is_handed_on(receiver: WebReceiver) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    reply = outcome_of(receiver, throttles(format_datetime(soon, usegmt=True), status=503))
    assert reply.retry_after_seconds == pytest.approx(600, abs=30)


@pytest.mark.parametrize("said", ["soon", "-5", "nan", "1e9", "²", "Mon, 99 Foo 2026", ""])
def test_a_pause_that_says_nothing_is_none(receiver: WebReceiver, said: str) -> None:
    assert outcome_of(receiver, throttles(said)).retry_after_seconds is None


@pytest.mark.parametrize("behaviour", [never_answers(), delays(30), trickles(0.05)])
def test_a_receiver_that_takes_too_long_is_given_up(
    receiver: WebReceiver, behaviour: Behaviour
) -> None:
    began = time.monotonic()
    reply = outcome_of(receiver, behaviour, timeout_seconds=0.3)
    assert reply.outcome is Outcome.TIMEOUT
    assert "no whole answer" in (reply.excerpt or "")
    assert 0.3 <= reply.duration_seconds <= time.monotonic() - began


def test_a_late_answer_within_the_time_is_an_answer(receiver: WebReceiver) -> None:
    reply = outcome_of(receiver, delays(0.2), timeout_seconds=10)
    assert (reply.outcome, reply.duration_seconds >= 0.2) == (Outcome.SUCCESS, True)


def test_an_answer_that_is_torn_off_is_no_success(receiver: WebReceiver) -> None:
    reply = outcome_of(receiver, resets_mid_body())
    assert (reply.outcome, reply.status_code) == (Outcome.CONNECTION_ERROR, None)
    assert "Connection reset" in (reply.excerpt or "")
    assert receiver.count == 1, "what was answered in part is not sent again behind our back"


def test_a_connection_that_is_reset_at_once_is_a_connection_error(receiver: WebReceiver) -> None:
    assert outcome_of(receiver, resets_at_connect()).outcome is Outcome.CONNECTION_ERROR


def test_a_refused_connection_is_told_with_the_place() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}"
        (reply,) = sent(f"http://{place}/hook", message())
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert reply.excerpt == f"{place} cannot be reached: Connection refused."


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".test"])
def test_an_unknown_name_is_a_connection_error(host: str) -> None:
    (reply,) = sent(f"http://{host}/", message())
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "cannot be reached" in (reply.excerpt or "")


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "hook", "http://", "http://[::1", "http://a:99999/", "http://é\x01/"],
)
def test_an_address_that_cannot_be_called_is_told(url: str) -> None:
    (reply,) = sent(url, message(), timeout_seconds=5)
    assert reply.outcome in {Outcome.OTHER, Outcome.CONNECTION_ERROR}
    assert reply.excerpt


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "127.1"]
)
def test_a_private_address_is_not_called_without_leave(receiver: WebReceiver, host: str) -> None:
    (reply,) = sent(receiver.url(host=host), message(), allowed="false")
    assert reply.outcome is Outcome.ADDRESS_NOT_ALLOWED
    assert "OBM_WEBHOOK_ALLOW_PRIVATE" in (reply.excerpt or "")
    assert receiver.count == 0


def test_the_address_that_was_checked_is_the_one_that_is_called(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def resolve(host: object, port: object, *_: object, **__: object) -> list[Any]:
        """Mean another address at each question, as in DNS rebinding."""
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolve)
        (reply,) = sent(receiver.url(host="rebinding.test"), message(), timeout_seconds=5)
    assert reply.is_success
    assert asked == ["rebinding.test"]
    assert receiver.received()[0].headers["host"] == f"rebinding.test:{receiver.port}"


def test_the_next_address_of_a_name_is_called_when_the_first_is_silent(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_host: object, port: object, *_: object, **__: object) -> list[Any]:
        family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*family, ("127.0.0.2", port)), (*family, ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    (reply,) = sent(receiver.url(host="two.test"), message(), allowed="127.0.0.0/8")
    assert reply.is_success


def test_a_connection_is_used_again(receiver: WebReceiver) -> None:
    sent(receiver.url(), *(message(number) for number in range(5)))
    assert len({post.connection for post in receiver.received()}) == 1


def test_a_connection_that_the_receiver_closed_meanwhile_is_opened_anew(
    receiver: WebReceiver,
) -> None:
    receiver.set_behaviour("/", hangs_up_silently())
    replies = sent(receiver.url(), *(message(number) for number in range(20)))
    assert all(reply.is_success for reply in replies)
    assert receiver.count == 20


def test_after_a_failure_the_next_post_has_a_connection_of_its_own(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", first(1, trickles(0.05)))
    late, good = sent(receiver.url(), message(1), message(2), timeout_seconds=0.4)
    assert (late.outcome, good.outcome) == (Outcome.TIMEOUT, Outcome.SUCCESS)
    assert len({post.connection for post in receiver.received()}) == 2


def test_a_receiver_that_fails_twice_then_succeeds_gets_three_equal_keys(
    receiver: WebReceiver,
) -> None:
    receiver.set_behaviour("/", first(2, answers(500)))
    replies = sent(receiver.url(), *[message()] * 3)
    assert [reply.is_success for reply in replies] == [False, False, True]
    assert {post.headers["idempotency-key"] for post in receiver.received()} == {"obm-abc-1"}


@pytest.mark.parametrize("rude", [False, True])
def test_a_status_that_comes_before_the_body_is_sent_is_read(
    receiver: WebReceiver, *, rude: bool
) -> None:
    receiver.set_behaviour("/", replace(answers_early(413), closes=rude))
    large = message(payload=b"x" * LARGE_BODY_BYTES)
    (reply,) = sent(receiver.url(), large)
    assert (reply.outcome, reply.status_code) == (Outcome.HTTP_STATUS_NOT_2XX, 413)


def test_a_large_body_arrives_whole(receiver: WebReceiver) -> None:
    (reply,) = sent(receiver.url(), message(payload=b"x" * LARGE_BODY_BYTES))
    assert reply.is_success
    assert len(receiver.received()[0].body) == LARGE_BODY_BYTES


def test_no_more_posts_are_under_way_than_allowed(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", delays(0.02))

    async def send() -> list[Reply]:
        sender = WebhookSender(WebhookOptions(concurrency=3), guard=AddressGuard("true"))
        url = receiver.url()
        replies = await asyncio.gather(*(sender.send(url, message(each)) for each in range(30)))
        await sender.aclose()
        return replies

    assert all(reply.is_success for reply in asyncio.run(send()))
    assert len({post.connection for post in receiver.received()}) == 3


def test_a_cancelled_post_ends_at_once_and_leaves_the_sender_usable(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", first(1, never_answers()))

    async def send() -> Reply:
        sender = WebhookSender(WebhookOptions(concurrency=1), guard=AddressGuard("true"))
        waiting = asyncio.create_task(sender.send(receiver.url(), message(1)))
        await asyncio.to_thread(receiver.wait_for, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reply = await sender.send(receiver.url(), message(2))
        await sender.aclose()
        return reply

    assert asyncio.run(send()).is_success


def test_an_excerpt_is_short_plain_and_without_our_secrets(receiver: WebReceiver) -> None:
    echo = f"token-of-ours {SECRET}\x00\x1b[31m\n\tred \u202e" + "y" * 5_000
    receiver.set_behaviour("/", answers(500, echo))
    (reply,) = sent(
        receiver.url(),
        message(),
        secrets=(SECRET,),
        headers=(("authorization", "Bearer token-of-ours"),),
    )
    assert reply.excerpt is not None
    assert reply.excerpt.startswith("*** ***[31m red y")
    assert len(reply.excerpt) == 1_024


def test_the_settings_say_how_inline_webhooks_are_called() -> None:
    settings = Settings(
        _env_file=None,
        webhook_secrets=f" {SECRET}, second ,",
        webhook_concurrency=3,
        webhook_timeout_seconds=4,
    )
    options = default_sender_options(settings)
    assert options.secrets == (SECRET, "second")
    assert (options.concurrency, options.timeout_seconds) == (3, 4)
    assert default_sender_options(Settings(_env_file=None)).secrets == ()
