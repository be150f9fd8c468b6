"""Many results in one POST, and receivers that take only some of them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks.webhooks import Webhook, hmac_data
from web_receiver import WebReceiver, accepts_all_but, answers, never_answers, throttles

from batching.deliveries import Message, Outcome, Reply
from batching.push_options import WebhookOptions
from clients.addresses import AddressGuard
from clients.webhooks import WebhookSender

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example


@pytest.fixture(scope="module")
def process() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(process: WebReceiver) -> WebReceiver:
    process.reset()
    return process


def messages(*numbers: int) -> list[Message]:
    return [
        Message(
            delivery_id=number,
            key=f"obm-abc-{number}",
            request_id=f"request-{number}",
            custom_id=f"row-{number}",
            payload=b'{"custom_id": "row-%d",  "text":"gr\xc3\xb6\xc3\x9fer"}' % number,
        )
        for number in numbers
    ]


def sent(url: str, posted: Sequence[Message], **options: Any) -> list[Reply]:
    async def send() -> list[Reply]:
        sender = WebhookSender(WebhookOptions(**options), guard=AddressGuard("127.0.0.1"))
        try:
            return await sender.send_batch(url, posted)
        finally:
            await sender.aclose()

    return asyncio.run(send())


def outcomes(replies: Sequence[Reply]) -> list[Outcome]:
    return [reply.outcome for reply in replies]


def test_each_result_is_a_line_with_its_key(receiver: WebReceiver) -> None:
    replies = sent(receiver.url(), messages(1, 2))
    (post,) = receiver.received()
    assert outcomes(replies) == [Outcome.SUCCESS] * 2
    assert post.headers["content-type"] == "application/x-ndjson"
    assert post.body.splitlines()[0] == (
        b'{"id":"obm-abc-1","result":{"custom_id": "row-1",  "text":"gr\xc3\xb6\xc3\x9fer"}}'
    )
    assert [line["id"] for line in post.lines] == ["obm-abc-1", "obm-abc-2"]


def test_the_same_results_make_the_same_key_whatever_their_order(receiver: WebReceiver) -> None:
    for numbers in ((1, 2, 3), (3, 1, 2), (1, 2)):
        sent(receiver.url(), messages(*numbers))
    keys = [post.headers["idempotency-key"] for post in receiver.received()]
    assert keys[0] == keys[1] != keys[2]
    assert "." not in keys[0]


def test_the_specifications_library_accepts_a_batch(receiver: WebReceiver) -> None:
    sent(receiver.url(), messages(1, 2), secrets=(SECRET,))
    (post,) = receiver.received()
    assert post.headers["webhook-id"] == post.headers["idempotency-key"]
    Webhook(SECRET).verify(post.wire_body, post.headers, json_parse=False)


def test_a_compressed_body_is_signed_as_it_is_sent(receiver: WebReceiver) -> None:
    sent(receiver.url(), messages(1, 2), secrets=(SECRET,), gzip=True)
    (post,) = receiver.received()
    head = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode()
    # The library reads bodies as text, which a compressed one is not: only its hash is used.
    digest = hmac_data(Webhook(SECRET)._whsecret, head + post.wire_body)
    assert post.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_a_compressed_body_says_so_and_is_the_same_inside(receiver: WebReceiver) -> None:
    sent(receiver.url(), messages(1, 2), gzip=True)
    sent(receiver.url(), messages(1, 2))
    packed, plain = receiver.received()
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.wire_body) == plain.wire_body
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(("reason", "told"), [("no room", "no room"), (None, "without a reason")])
def test_only_those_that_the_receiver_names_as_failed_are_not_accepted(
    receiver: WebReceiver, reason: str | None, told: str
) -> None:
    receiver.set_behaviour("/", accepts_all_but(["row-2", "obm-abc-4"], reason))
    replies = sent(receiver.url(), messages(1, 2, 3, 4))
    accepted, refused = Outcome.SUCCESS, Outcome.NOT_ACCEPTED
    assert outcomes(replies) == [accepted, refused, accepted, refused]
    assert told in (replies[1].excerpt or "")


@pytest.mark.parametrize(
    "said",
    [
        "", "fine", "[]", '{"failed": []}', '{"failed": ["obm-of-someone-else"]}', '{"failed": 3}',
        '{"failed": [null, 1, {"id": 2}, {}]}', '{"failed"', '{"a":' * 3_000,
    ],
)  # fmt: skip
def test_an_answer_that_names_none_of_them_takes_them_all(receiver: WebReceiver, said: str) -> None:
    receiver.set_behaviour("/", answers(200, said))
    assert outcomes(sent(receiver.url(), messages(1, 2))) == [Outcome.SUCCESS] * 2


def test_a_long_list_of_failures_is_read_to_its_end(receiver: WebReceiver) -> None:
    posted = messages(*range(500))
    receiver.set_behaviour("/", accepts_all_but([each.key for each in posted], "y" * 500))
    assert set(outcomes(sent(receiver.url(), posted))) == {Outcome.NOT_ACCEPTED}


def test_failures_in_an_answer_without_end_are_not_taken_for_success(
    receiver: WebReceiver,
) -> None:
    receiver.set_behaviour("/", answers(200, json.dumps({"failed": ["x" * 1_000_000]})))
    replies = sent(receiver.url(), messages(1, 2))
    assert outcomes(replies) == [Outcome.NOT_ACCEPTED] * 2
    assert "too long" in (replies[0].excerpt or "")


def test_a_failed_post_fails_for_each_of_its_results(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", throttles(3))
    replies = sent(receiver.url(), messages(1, 2))
    assert [(each.outcome, each.retry_after_seconds) for each in replies] == [
        (Outcome.THROTTLED, 3.0)
    ] * 2


def test_a_failed_post_that_names_failures_still_fails_for_all(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", answers(500, '{"failed": ["obm-abc-1"]}'))
    replies = sent(receiver.url(), messages(1, 2))
    assert outcomes(replies) == [Outcome.HTTP_STATUS_NOT_2XX] * 2


def test_a_silent_receiver_is_a_timeout_for_each(receiver: WebReceiver) -> None:
    receiver.set_behaviour("/", never_answers())
    replies = sent(receiver.url(), messages(1, 2), timeout_seconds=0.2)
    assert outcomes(replies) == [Outcome.TIMEOUT] * 2


def test_no_results_make_no_post(receiver: WebReceiver) -> None:
    assert sent(receiver.url(), []) == []
    assert receiver.count == 0
