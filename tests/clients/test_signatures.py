"""Signatures, as the specification's own library checks them."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from batching.errors import ConfigurationError
from clients.signatures import Signer, signing_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example
OTHER = "whsec_" + base64.b64encode(b"another secret of ours").decode()
BODY = '{"custom_id":"größe","n":1}'


def signed(*secrets: str, body: str = BODY, at: float | None = None) -> dict[str, str]:
    moment = int(time.time() if at is None else at)
    return dict(Signer(secrets).headers("obm-1", moment, body.encode()))


def test_the_specifications_library_accepts_the_signature() -> None:
    assert Webhook(SECRET).verify(BODY, signed(SECRET))["n"] == 1


def test_the_specifications_example_is_signed_as_it_says() -> None:
    headers = Signer([SECRET]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert dict(headers)["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_secrets_verify_while_they_are_rotated() -> None:
    headers = signed(OTHER, SECRET)
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(SECRET).verify(BODY, headers)
    Webhook(OTHER).verify(BODY, headers)


def test_a_plain_secret_is_used_as_its_own_bytes() -> None:
    Webhook("ein geheimes Wörtchen".encode()).verify(BODY, signed("ein geheimes Wörtchen"))


def test_a_secret_without_padding_is_the_same_secret() -> None:
    padded = "whsec_" + base64.b64encode(b"x" * 25).decode()
    assert padded.endswith("=")
    assert signing_key(padded) == signing_key(padded.rstrip("=")) == b"x" * 25


def test_a_changed_body_does_not_verify() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + " ", signed(SECRET))


def test_an_old_signature_does_not_verify() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY, signed(SECRET, at=time.time() - 3600))


def test_without_a_secret_nothing_is_signed() -> None:
    assert signed() == {}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_a-_b", "whsec_ü"])
def test_an_unusable_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        signing_key(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)
