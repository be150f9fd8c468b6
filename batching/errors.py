"""Every error of the product, under one root.

BatchManagerError
├── TransientError            may pass by itself: try again later
│   ├── ProviderUnavailable   the provider did not answer, or answered 5xx
│   ├── Throttled             the provider asked for a pause (429)
│   ├── CapacityExceeded      the lane's enqueued-token limit is full
│   ├── InputFileNotVisible   a file just uploaded is not found yet
│   ├── AmbiguousCreate       a batch may or may not have been created
│   ├── IncompleteDownload    fewer bytes came than the file has
│   └── DiskFull              no space left in the data directory
├── TerminalError             will not pass: somebody must decide
│   ├── AccountRefused        key, project or credit of the account
│   ├── RequestRefused        the provider refused this call for its content
│   ├── NotFound              the provider does not know this id
│   ├── BadInput              a file or a setting that cannot be used
│   └── ConfigurationError    the installation must be changed first
└── StopRequested             the process is stopping; nothing is wrong
"""


class BatchManagerError(Exception):
    """The root of every error that this product raises on purpose."""


class TransientError(BatchManagerError):
    """It may pass by itself: the same step is tried again later."""


class TerminalError(BatchManagerError):
    """It will not pass by itself: it is recorded and shown."""


class ProviderUnavailable(TransientError):
    """The provider did not answer in time, or answered with a server error."""


class Throttled(TransientError):
    """The provider asks for a pause."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class CapacityExceeded(TransientError):
    """The provider refuses more enqueued tokens for this model."""

    def __init__(self, message: str, *, limit_tokens: int | None = None) -> None:
        super().__init__(message)
        self.limit_tokens = limit_tokens


class InputFileNotVisible(TransientError):
    """The provider does not find a file that was just uploaded."""


class AmbiguousCreate(TransientError):
    """A batch may or may not have been created: look before creating again."""


class IncompleteDownload(TransientError):
    """A file arrived shorter than the provider says it is."""


class DiskFull(TransientError):
    """No space is left in the data directory."""


class AccountRefused(TerminalError):
    """The provider refuses the account: key, project, organisation or credit."""


class RequestRefused(TerminalError):
    """The provider refuses this call for what it contains.

    `line` is the line of the input file that it names, if it names one.
    """

    def __init__(self, message: str, *, code: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


class NotFound(TerminalError):
    """The provider does not know this id."""


class BadInput(TerminalError):
    """A file that cannot be read as what it claims to be."""


class ConfigurationError(TerminalError):
    """A setting, or the installation, must be changed before work can go on."""


class StopRequested(BatchManagerError):
    """The process was asked to stop; what was begun is taken up again later."""
