"""What went wrong at the provider, in our own errors and in words for people.

The errors are raised without the foreign one as their cause: its text may repeat what was
sent, and the key is never to appear in a log.
"""

from dataclasses import dataclass

import httpx2
import openai

from batching.errors import (
    AccountRefused,
    AmbiguousCreate,
    BatchManagerError,
    CapacityExceeded,
    ConfigurationError,
    InputFileNotVisible,
    NotFound,
    ProviderUnavailable,
    RequestRefused,
    Throttled,
)
from batching.provider import BatchFault, describe_answer
from batching.refusals import (
    TOO_LARGE_CODE,
    is_account_trouble,
    is_file_missing,
    is_token_limit,
    limit_in,
)
from clients.safe_retries import fault_of, retry_after_seconds

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
_ACCOUNT_STATUSES = frozenset({401, 402, 403})
_UNDECIDED_STATUSES = frozenset({408, 409})
_NOT_FOUND = 404
_TOO_LARGE = 413
_THROTTLED = 429
_FIRST_CLIENT_ERROR = 400
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTranslator:
    """Turns errors of the SDK and of its transport into ours."""

    provider: str
    """The host that answers, for messages."""
    secret: str
    """The key, to keep it out of messages."""

    def of_call(self, error: Exception, asked: str) -> BatchManagerError:
        """Return our error for any call but a create; `asked` says what was wanted."""
        if isinstance(error, BatchManagerError):
            return error
        if isinstance(error, openai.APIStatusError):
            return self._of_status(error, asked)
        if isinstance(error, openai.APIConnectionError | httpx2.TransportError):
            return ProviderUnavailable(
                self._silence(error, asked, "It is tried again; check the network if it goes on.")
            )
        return ConfigurationError(
            f"{asked}: {self._clean(str(error))}. Check OPENAI_BASE_URL and OPENAI_API_KEY."
        )

    def of_create(self, error: Exception, asked: str) -> BatchManagerError:
        """Return our error for a create, which is ambiguous unless it surely made no batch."""
        if isinstance(error, openai.APIStatusError):
            return self._of_create_status(error, asked)
        if isinstance(error, openai.APIConnectionError):
            if isinstance(error.__cause__, _NEVER_SENT):
                return ProviderUnavailable(
                    self._silence(error, asked, "Nothing was sent; it is tried again.")
                )
            return AmbiguousCreate(
                self._silence(error, asked, "The batch may exist: it is looked for first.")
            )
        return AmbiguousCreate(
            f"{asked}: {self._clean(str(error))} The batch may exist: it is looked for first."
        )

    def _of_status(self, error: openai.APIStatusError, asked: str) -> BatchManagerError:
        status, fault = error.status_code, fault_of(error)
        said = self._answer(error, fault, asked)
        if is_token_limit(fault):
            return CapacityExceeded(said, limit_tokens=limit_in(fault.message))
        if status in _ACCOUNT_STATUSES or is_account_trouble(fault):
            return AccountRefused(f"{said} Check the key, its permissions and the credit.")
        if status == _THROTTLED:
            return _throttled(error, said)
        if status == _NOT_FOUND:
            return NotFound(said)
        if status in _UNDECIDED_STATUSES or status >= _FIRST_SERVER_ERROR:
            return ProviderUnavailable(f"{said} It is tried again.")
        return self._refused(error, fault, said)

    def _of_create_status(self, error: openai.APIStatusError, asked: str) -> BatchManagerError:
        status, fault = error.status_code, fault_of(error)
        said = self._answer(error, fault, asked)
        if status in _UNDECIDED_STATUSES or status >= _FIRST_SERVER_ERROR:
            return AmbiguousCreate(f"{said} The batch may exist: it is looked for first.")
        if is_token_limit(fault):
            return CapacityExceeded(said, limit_tokens=limit_in(fault.message))
        if is_file_missing(fault):
            return InputFileNotVisible(f"{said} It is tried again.")
        if status in _ACCOUNT_STATUSES or is_account_trouble(fault):
            return AccountRefused(f"{said} Check the key, its permissions and the credit.")
        if status == _THROTTLED:
            return _throttled(error, said)
        return self._refused(error, fault, said)

    def _refused(
        self, error: openai.APIStatusError, fault: BatchFault, said: str
    ) -> RequestRefused:
        if error.status_code < _FIRST_CLIENT_ERROR:
            place = error.response.headers.get("location", "elsewhere")
            said = f"{said} It points to {self._clean(place)}: check OPENAI_BASE_URL."
        code = TOO_LARGE_CODE if error.status_code == _TOO_LARGE else fault.code
        return RequestRefused(said, code=code, line=fault.line)

    def _answer(self, error: openai.APIStatusError, fault: BatchFault, asked: str) -> str:
        code = f" {fault.code}" if fault.code else ""
        reason = describe_answer(self._clean(fault.message)).rstrip(".")
        request = f" (request {error.request_id})" if error.request_id else ""
        return f"{asked}: {self.provider} answered {error.status_code}{code}: {reason}{request}."

    def _silence(self, error: Exception, asked: str, advice: str) -> str:
        source = error.__cause__ or error
        detail = f": {source}" if str(source) else ""
        problem = self._clean(f"{type(source).__name__}{detail}").rstrip(".")
        return f"{asked}: no answer from {self.provider} ({problem}). {advice}"

    def _clean(self, text: str) -> str:
        return text.replace(self.secret, "***") if self.secret else text


def _throttled(error: openai.APIStatusError, said: str) -> Throttled:
    return Throttled(
        f"{said} It is tried again later.",
        retry_after_seconds=retry_after_seconds(error.response),
    )
