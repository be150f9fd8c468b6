"""OpenAI's Files and Batch API, or any server that speaks it.

What may be done twice is tried again here; a create never is, because each one costs money.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
import openai

from batching.errors import (
    BadInput,
    BatchManagerError,
    ConfigurationError,
    IncompleteDownload,
    NotFound,
    ProviderUnavailable,
    RequestRefused,
    StopRequested,
    Throttled,
)
from batching.provider import (
    ProviderBatch,
    ProviderFile,
    read_batch,
    read_file,
)
from batching.settings import Settings
from batching.stopping import check_stop
from clients.openai_answers import (
    MOST_LISTED,
    about,
    endless,
    id_in,
    is_end,
    json_of,
    read_page,
)
from clients.openai_errors import ErrorTranslator
from clients.openai_transfers import CHUNK_BYTES, StoppableFile, save_stream
from clients.safe_retries import FOREIGN_ERRORS, SAFE_ATTEMPTS, retried, stoppable_pause

BATCHES_PER_PAGE = 100
FILES_PER_PAGE = 1000
UNNAMED_PAUSE_SECONDS = 20.0
"""How long to wait when the provider asks for a pause and does not say how long."""
CONNECT_SECONDS = 10.0
INPUT_FILE_LIFE_SECONDS = 30 * 24 * 3600
_RECEIVING_BYTES_PER_SECOND = 1_000_000  # how fast a server is at least expected to store a file
_FIRST_SERVER_ERROR = 500

_Answer = TypeVar("_Answer")


class OpenAIBatches:
    """The provider's files and batches; may be shared between threads."""

    def __init__(
        self, settings: Settings, *, pause: Callable[[float], None] = stoppable_pause
    ) -> None:
        self._settings = settings
        self._pause = pause
        self.last_answer_at: datetime | None = None
        key = _usable_key(settings)
        url = httpx2.URL(settings.openai_base_url)
        self._errors = ErrorTranslator(provider=url.host or str(url), secret=key)
        self._client = openai.OpenAI(
            api_key=key,
            base_url=settings.openai_base_url,
            max_retries=0,
            timeout=_timeout(settings.request_timeout_seconds),
            http_client=openai.DefaultHttpx2Client(event_hooks=self._hooks()),
        )
        # A create gets a connection of its own and is never redirected: on one that was kept
        # open, a reset would leave in doubt whether the request arrived.
        self._create_client = self._client.with_options(
            timeout=_timeout(settings.create_timeout_seconds),
            http_client=openai.DefaultHttpx2Client(
                event_hooks=self._hooks(),
                follow_redirects=False,
                limits=httpx2.Limits(max_keepalive_connections=0),
            ),
        )

    def close(self) -> None:
        """Close the connections that are still open."""
        self._client.close()
        self._create_client.close()

    def check(self) -> None:
        """Return if the key may use the Batch API; raise what is wrong otherwise."""
        self._get(
            lambda: self._client.batches.with_raw_response.list(limit=1),
            read_page,
            "checking the key",
        )

    def upload(self, path: Path, *, filename: str) -> ProviderFile:
        """Upload an input file from an open handle and return it as the provider keeps it."""
        asked = f"uploading {filename}"

        def send() -> ProviderFile:
            with self._open(path) as handle:
                return read_file(json_of(self._send_file(handle, filename)))

        return self._safely(send, asked)

    def create(
        self, *, input_file_id: str, endpoint: str, metadata: Mapping[str, str]
    ) -> ProviderBatch:
        """Create a batch, in one attempt; AmbiguousCreate means that it may exist."""
        asked = f"creating a batch of file {input_file_id}"
        try:
            response = self._create_client.batches.with_raw_response.create(
                input_file_id=input_file_id,
                endpoint=cast("Any", endpoint),
                completion_window="24h",
                metadata=dict(metadata),
            )
            return read_batch(json_of(response))
        except StopRequested:
            raise
        except Exception as error:  # noqa: BLE001 - whatever happened, a batch may exist
            raise self._errors.of_create(error, asked) from None

    def retrieve(self, batch_id: str) -> ProviderBatch:
        """Return the batch as it is now; raise NotFound if the provider does not know it."""
        return self._get(
            lambda: self._client.batches.with_raw_response.retrieve(_known(batch_id, "batch")),
            lambda answer: about(read_batch(answer), batch_id),
            f"looking at batch {batch_id}",
        )

    def list_batches(
        self, created_after: datetime | None = None, *, patience_seconds: float = 0.0
    ) -> Iterator[ProviderBatch]:
        """Yield the account's batches, those created before the time left out.

        A pause that the provider asks for is kept as long as the patience lasts.
        """
        pages = self._pages(
            lambda after: self._client.batches.with_raw_response.list(
                limit=BATCHES_PER_PAGE, **_after(after)
            ),
            "listing the batches",
            patience_seconds,
        )
        times: list[datetime | None] = []
        for page in pages:
            batches = [read_batch(entry) for entry in page]
            yield from (batch for batch in batches if _is_since(batch, created_after))
            if created_after is None:
                continue
            times += [batch.created_at for batch in batches]
            if _only_older_follow(times, created_after):
                return

    def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask for the end of a batch and return it; one that has ended is returned as it is."""
        asked = f"cancelling batch {batch_id}"
        try:
            response = self._client.batches.with_raw_response.cancel(_known(batch_id, "batch"))
            return about(read_batch(json_of(response)), batch_id)
        except FOREIGN_ERRORS as error:
            translated = self._errors.of_call(error, asked)
            if not _may_have_ended(error, translated):
                raise translated from None
        return self.retrieve(batch_id)

    def file(self, file_id: str) -> ProviderFile:
        """Return what the provider says about a file; raise NotFound if it is gone."""
        return self._get(
            lambda: self._client.files.with_raw_response.retrieve(_known(file_id, "file")),
            read_file,
            f"looking at file {file_id}",
        )

    def list_files(self, purpose: str, *, patience_seconds: float = 0.0) -> Iterator[ProviderFile]:
        """Yield the account's files of a purpose (`batch`, `batch_output`)."""
        pages = self._pages(
            lambda after: self._client.files.with_raw_response.list(
                purpose=purpose, limit=FILES_PER_PAGE, **_after(after)
            ),
            f"listing the files for {purpose}",
            patience_seconds,
        )
        for page in pages:
            yield from map(read_file, page)

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is already gone is as good."""
        try:
            self._get(
                lambda: self._client.files.with_raw_response.delete(_known(file_id, "file")),
                lambda _: None,
                f"deleting file {file_id}",
            )
        except NotFound:
            return

    def download(self, file_id: str, target: Path, *, expected_bytes: int | None = None) -> int:
        """Fetch a file to the target, whole or not at all, and return its size in bytes."""
        asked = f"downloading file {file_id}"

        def fetch() -> int:
            content = self._client.files.with_streaming_response.content(_known(file_id, "file"))
            with content as response:
                chunks = _chunks(response.http_response)
                return save_stream(chunks, target, expected_bytes=expected_bytes)

        return self._safely(fetch, asked)

    def _open(self, path: Path) -> StoppableFile:
        try:
            return StoppableFile(path, patience_seconds=self._settings.request_timeout_seconds)
        except OSError as error:
            raise BadInput(f"the input file {path} cannot be read: {error}") from error

    def _send_file(self, handle: StoppableFile, filename: str) -> Any:
        patience = self._settings.request_timeout_seconds
        storing_seconds = handle.size_bytes / _RECEIVING_BYTES_PER_SECOND
        optional: dict[str, Any] = {}
        if self._settings.is_openai:
            # Other servers may not know the field; OpenAI would keep input files for 30 days.
            optional["expires_after"] = {
                "anchor": "created_at",
                "seconds": INPUT_FILE_LIFE_SECONDS,
            }
        return self._client.files.with_raw_response.create(
            file=(filename, handle),
            purpose="batch",
            timeout=_timeout(patience, answer_seconds=patience + storing_seconds),
            **optional,
        )

    def _pages(
        self, fetch: Callable[[str | None], Any], asked: str, patience_seconds: float
    ) -> Iterator[list[Mapping[str, Any]]]:
        seen: set[str] = set()
        last: Sequence[object] = []
        after: str | None = None
        while True:
            check_stop()
            page, patience_seconds = self._page(partial(fetch, after), asked, patience_seconds)
            entries = [entry for entry in page["data"] if id_in(entry) not in seen]
            if not entries:
                if not is_end(page["data"], last, has_more=page.get("has_more")):
                    raise endless(asked)
                return
            yield entries
            last, after = page["data"], id_in(entries[-1])
            if page.get("has_more") is False or after is None:
                return
            seen.update(filter(None, map(id_in, entries)))
            if len(seen) > MOST_LISTED:
                raise endless(asked)

    def _page(
        self, fetch: Callable[[], Any], asked: str, patience_seconds: float
    ) -> tuple[Mapping[str, Any], float]:
        """Return a page, after the pauses that the provider asks for, and the patience left."""
        while True:
            try:
                return self._get(fetch, read_page, asked), patience_seconds
            except Throttled as error:
                pause_seconds = error.retry_after_seconds or UNNAMED_PAUSE_SECONDS
                if pause_seconds > patience_seconds:
                    raise
            self._pause(pause_seconds)
            patience_seconds -= pause_seconds

    def _get(
        self, call: Callable[[], Any], read: Callable[[object], _Answer], asked: str
    ) -> _Answer:
        return self._safely(lambda: read(json_of(call())), asked)

    def _safely(self, call: Callable[[], _Answer], asked: str) -> _Answer:
        try:
            return retried(call, attempts=SAFE_ATTEMPTS, pause=self._pause)
        except FOREIGN_ERRORS as error:
            raise self._errors.of_call(error, asked) from None
        except (ProviderUnavailable, IncompleteDownload) as error:
            raise type(error)(f"{asked}: {error}") from None

    def _hooks(self) -> dict[str, list[Callable[..., Any]]]:
        return {"response": [self._note_answer]}

    def _note_answer(self, response: httpx2.Response) -> None:
        if response.status_code < _FIRST_SERVER_ERROR:
            self.last_answer_at = datetime.now(UTC)


def _usable_key(settings: Settings) -> str:
    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    if not key:
        raise ConfigurationError(
            "OPENAI_API_KEY is not set: set it in the environment or in .env "
            "(any word will do for a local server that asks for none)."
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("OPENAI_API_KEY holds characters that no key has: copy it again.")
    return key


def _timeout(seconds: float, *, answer_seconds: float | None = None) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=CONNECT_SECONDS, read=answer_seconds or seconds)


def _after(cursor: str | None) -> dict[str, Any]:
    return {} if cursor is None else {"after": cursor}


def _known(identifier: str, kind: str) -> str:
    if not identifier:
        raise NotFound(f"the provider named no {kind}: there is nothing to ask for.")
    return identifier


def _is_since(batch: ProviderBatch, created_after: datetime | None) -> bool:
    return created_after is None or batch.created_at is None or batch.created_at >= created_after


def _only_older_follow(listed: list[datetime | None], created_after: datetime) -> bool:
    """Return whether the list is seen to run from new to old and has passed the time.

    The order is documented nowhere, and batches that are overlooked would be paid twice.
    """
    times = [created_at for created_at in listed if created_at is not None]
    if len(times) < len(listed) or times[0] == times[-1]:
        return False
    return times[-1] < created_after and all(new >= old for new, old in pairwise(times))


def _may_have_ended(error: Exception, translated: BatchManagerError) -> bool:
    """Return whether the refusal of a cancel can mean that the batch has already ended."""
    if isinstance(translated, RequestRefused | NotFound):
        return True
    return isinstance(error, openai.ConflictError)


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(CHUNK_BYTES)
    except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.DecodingError) as error:
        raise IncompleteDownload(f"the connection was lost before its end ({error}).") from None
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and response.num_bytes_downloaded < int(announced):
        raise IncompleteDownload(f"it is shorter than the announced {int(announced):,} bytes.")
