"""Signatures of webhooks after the Standard Webhooks specification, version v1."""

import base64
import hmac
from collections.abc import Sequence

from batching.errors import ConfigurationError

_PREFIX = "whsec_"


class Signer:
    """Signs each body with every secret in force, so that secrets can be changed in peace."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take the secrets, the newest first; ConfigurationError if one cannot be used."""
        self._keys = [signing_key(secret) for secret in secrets]

    def headers(self, webhook_id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
        """Return the three headers of the specification, or none if there is no secret.

        What is signed is the body as it is sent: a receiver of a compressed body checks the
        signature before it decompresses.
        """
        if not self._keys:
            return []
        signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
        return [
            ("webhook-id", webhook_id),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", " ".join(_signature(key, signed) for key in self._keys)),
        ]


def signing_key(secret: str) -> bytes:
    """Return the key behind a secret: decoded after `whsec_`, otherwise the text's own bytes."""
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        encoded = secret.removeprefix(_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except ValueError:
            raise ConfigurationError(
                "a secret that signs webhooks begins with whsec_ but is not base64 after that: "
                "copy it again, or give a secret without the prefix to use it as plain text."
            ) from None
    if not key:
        raise ConfigurationError("a secret that signs webhooks is empty: take it out or fill it.")
    return key


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
