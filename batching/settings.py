"""The settings: environment variables and `.env`, read once where a process begins."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from batching.retry import LONGEST_ASKED_SECONDS

OPENAI_URL = "https://api.openai.com/v1"

Seconds = Annotated[float, Field(ge=0, le=1_000_000_000)]
"""At most 30 years, so that it can be added to any date."""
Days = Annotated[float, Field(ge=0, le=36_500)]


def _named(variable: str, default: Any, description: str, **rules: Any) -> Any:
    """Return a field that is read from exactly this environment variable."""
    return Field(default, validation_alias=AliasChoices(variable), description=description, **rules)


class Settings(BaseSettings):
    """What an operator can change; `obm config` prints the values in force."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        # Code names fields, the environment names variables: without a prefix that nobody uses,
        # a platform's own PORT or HOST would be taken for ours.
        env_prefix="obm_field_",
    )

    openai_api_key: SecretStr | None = _named(
        "OPENAI_API_KEY", None, "key of the account that pays"
    )
    openai_base_url: str = _named(
        "OPENAI_BASE_URL", OPENAI_URL, "any server that speaks OpenAI's Files and Batch API"
    )
    account_name: str = _named(
        "OBM_ACCOUNT", "default", "name of the account; a batch remembers it", min_length=1
    )
    data_dir: Path = _named("OBM_DATA_DIR", Path("data"), "everything is kept in this folder")
    host: str = _named("OBM_HOST", "127.0.0.1", "address that API and dashboard bind")
    port: int = _named("OBM_PORT", 4000, "port of the REST API (0: any)", ge=0, le=65535)
    dashboard_port: int = _named(
        "OBM_DASHBOARD_PORT",
        4001,
        "port of the dashboard; `obm web` without `--only` serves it at OBM_PORT (0: any)",
        ge=0,
        le=65535,
    )
    prefect_port: int = _named(
        "OBM_PREFECT_PORT", 4200, "port of the embedded Prefect server (0: any)", ge=0, le=65535
    )
    log_level: str = _named("OBM_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")

    file_stable_seconds: Seconds = _named(
        "OBM_FILE_STABLE_SECONDS", 2.0, "a dropped file is complete when it stood still this long"
    )
    batch_max_wait_seconds: Seconds = _named(
        "OBM_BATCH_MAX_WAIT", 3600.0, "longest wait for a batch to fill, seconds (0: none)"
    )
    batch_max_requests: int = _named(
        "OBM_BATCH_MAX_REQUESTS", 50_000, "most requests a batch", ge=1, le=50_000
    )
    batch_max_bytes: int = _named(
        "OBM_BATCH_MAX_BYTES", 190_000_000, "largest input file", ge=1_000, le=200_000_000
    )
    batch_max_embedding_inputs: int = _named(
        "OBM_BATCH_MAX_EMBEDDING_INPUTS", 50_000, "most embedding inputs a batch", ge=1
    )
    token_limits: Annotated[dict[str, int], NoDecode] = _named(
        "OBM_TOKEN_LIMITS", {}, "enqueued-token limits, `model=tokens,…` (longest prefix wins)"
    )
    token_safety_factor: float = _named(
        "OBM_TOKEN_SAFETY_FACTOR", 1.10, "estimated tokens are multiplied by this", ge=1.0
    )
    assumed_output_tokens: int = _named(
        "OBM_ASSUMED_OUTPUT_TOKENS",
        500,
        "output tokens a request is expected to cost when its body sets no maximum",
        ge=0,
    )
    price_table: Path | None = _named("OBM_PRICE_TABLE", None, "CSV that replaces the price table")
    token_limit_table: Path | None = _named(
        "OBM_TOKEN_LIMIT_TABLE", None, "CSV that replaces the tier-1 token table"
    )
    max_spend_per_day: Decimal | None = _named(
        "OBM_MAX_SPEND_PER_DAY", None, "USD that may be committed in one UTC day (none: no limit)"
    )
    capacity_backoff_seconds: Seconds = _named(
        "OBM_CAPACITY_BACKOFF", 60.0, "first pause after a token-limit refusal, seconds"
    )
    capacity_backoff_max_seconds: Seconds = _named(
        "OBM_CAPACITY_BACKOFF_MAX", 1800.0, "longest pause after token-limit refusals, seconds"
    )
    submit_proof_seconds: Seconds = _named(
        "OBM_SUBMIT_PROOF_SECONDS",
        600.0,
        "time after an unanswered create before a missing batch counts as never created",
    )
    results_grace_seconds: Seconds = _named(
        "OBM_RESULTS_GRACE_SECONDS", 86_400.0, "how long an unreadable result file is retried"
    )
    lost_batch_seconds: Seconds = _named(
        "OBM_LOST_BATCH_SECONDS", 3600.0, "how long a batch must answer 404 before it is lost"
    )
    poll_min_seconds: Seconds = _named("OBM_POLL_MIN", 15.0, "shortest time between two polls")
    poll_max_seconds: Seconds = _named("OBM_POLL_MAX", 300.0, "longest time between two polls")
    parallel_uploads: int = _named("OBM_PARALLEL_UPLOADS", 2, "uploads at a time", ge=1, le=16)
    create_timeout_seconds: Seconds = _named(
        "OBM_CREATE_TIMEOUT", 60.0, "how long the answer to a create is awaited"
    )
    request_timeout_seconds: Seconds = _named(
        "OBM_REQUEST_TIMEOUT", 60.0, "how long any other answer of the provider is awaited"
    )
    file_not_found_seconds: Seconds = _named(
        "OBM_FILE_NOT_FOUND_SECONDS",
        60.0,
        "how long a just uploaded file may be unknown to a create before it is uploaded again",
    )
    max_attempts: int = _named(
        "OBM_MAX_ATTEMPTS", 3, "times that a request may run (each may be paid)", ge=1, le=100
    )
    max_returns: int = _named(
        "OBM_MAX_RETURNS", 10, "times that a request may come back without having run", ge=1, le=100
    )

    seal_seconds: Seconds = _named(
        "OBM_SEAL_SECONDS", 5.0, "how long a receiver's log is written before it is handed over"
    )
    seal_bytes: int = _named(
        "OBM_SEAL_BYTES", 64_000_000, "size at which a receiver's log is handed over", ge=1_000
    )
    max_request_bytes: int = _named(
        "OBM_MAX_REQUEST_BYTES", 8_000_000, "largest request over REST or RabbitMQ", ge=1_000
    )
    max_upload_bytes: int = _named(
        "OBM_MAX_UPLOAD_BYTES", 20_000_000_000, "largest uploaded file or bulk request", ge=1_000
    )
    receive_timeout_seconds: Seconds = _named(
        "OBM_RECEIVE_TIMEOUT", 30.0, "how long a client may pause while it sends a body"
    )
    rabbitmq_url: SecretStr | None = _named(
        "RABBITMQ_URL", None, "broker for intake and delivery, `amqp://user:password@host:5672/`"
    )
    rabbitmq_input_queue: str | None = _named(
        "RABBITMQ_INPUT_QUEUE", None, "queue from which requests are taken"
    )
    rabbitmq_input_exchange: str | None = _named(
        "RABBITMQ_INPUT_EXCHANGE", None, "exchange to which a queue of our own is bound instead"
    )
    rabbitmq_input_routing_key: str | None = _named(
        "RABBITMQ_INPUT_ROUTING_KEY", None, "routing key of that binding"
    )
    rabbitmq_declare: bool = _named(
        "OBM_RABBITMQ_DECLARE", False, "declare RABBITMQ_INPUT_QUEUE when it is not there"
    )
    destinations_file: Path | None = _named(
        "OBM_DESTINATIONS", None, "named destinations (default: destinations.toml in the data dir)"
    )
    webhook_allow_private: str = _named(
        "OBM_WEBHOOK_ALLOW_PRIVATE",
        "false",
        "private addresses that webhooks may call: false, true, or hosts and networks",
    )
    webhook_secrets: SecretStr | None = _named(
        "OBM_WEBHOOK_SECRETS", None, "secrets that sign webhooks, newest first, `whsec_…,whsec_…`"
    )
    webhook_concurrency: int = _named(
        "OBM_WEBHOOK_CONCURRENCY", 8, "POSTs under way to one target", ge=1, le=200
    )
    webhook_timeout_seconds: Seconds = _named(
        "OBM_WEBHOOK_TIMEOUT", 30.0, "how long one POST may take in all"
    )
    disable_failing_days: Days = _named(
        "OBM_DISABLE_FAILING_DAYS",
        5.0,
        "a target that only fails so long is given up (0: never)",
    )

    interval_ingest_seconds: Seconds = _named("OBM_INTERVAL_INGEST", 60.0, "schedule, seconds")
    interval_submit_seconds: Seconds = _named("OBM_INTERVAL_SUBMIT", 60.0, "schedule, seconds")
    interval_track_seconds: Seconds = _named("OBM_INTERVAL_TRACK", 60.0, "schedule, seconds")
    interval_deliver_seconds: Seconds = _named("OBM_INTERVAL_DELIVER", 60.0, "schedule, seconds")
    interval_upkeep_seconds: Seconds = _named("OBM_INTERVAL_UPKEEP", 3600.0, "schedule, seconds")

    keep_archive_days: Days = _named("OBM_KEEP_ARCHIVE_DAYS", 30.0, "staging/archive (0: for ever)")
    keep_rejected_days: Days = _named(
        "OBM_KEEP_REJECTED_DAYS", 90.0, "staging/rejected (0: for ever)"
    )
    keep_requests_days: Days = _named(
        "OBM_KEEP_REQUESTS_DAYS",
        30.0,
        "segments, results and ledger rows of delivered jobs (0: for ever)",
    )
    keep_batches_days: Days = _named(
        "OBM_KEEP_BATCHES_DAYS", 30.0, "downloaded output and error files (0: for ever)"
    )
    keep_audit_days: Days = _named(
        "OBM_KEEP_AUDIT_DAYS", 365.0, "who moved what, and when, in the ledger (0: for ever)"
    )
    keep_outbox_days: Days = _named("OBM_KEEP_OUTBOX_DAYS", 0.0, "outbox/ (0: for ever)")
    keep_backups: int = _named("OBM_KEEP_BACKUPS", 24, "copies of the ledger that are kept", ge=1)
    ledger_memory_bytes: int = _named(
        "OBM_LEDGER_MEMORY_BYTES", 1_000_000_000, "memory that the ledger may use", ge=64_000_000
    )

    @field_validator("token_limits", mode="before")
    @classmethod
    def _read_token_limits(cls, value: object) -> object:
        return parse_token_limits(value) if isinstance(value, str) else value

    @field_validator("openai_base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @property
    def is_openai(self) -> bool:
        """Whether the provider is OpenAI itself, whose tier-1 token table applies."""
        return "//api.openai.com" in self.openai_base_url

    @property
    def longest_poll_seconds(self) -> float:
        """The longest that a batch at the provider is left without a look."""
        return max(self.poll_min_seconds, self.poll_max_seconds)

    @property
    def longest_pause_seconds(self) -> float:
        """The longest that a batch or a lane waits for its next try, whatever for."""
        return max(
            self.longest_poll_seconds, self.capacity_backoff_seconds,
            self.capacity_backoff_max_seconds, LONGEST_ASKED_SECONDS,
        )  # fmt: skip

    @property
    def account(self) -> str:
        """The account that new batches belong to: base URL and name, never the key."""
        return f"{self.account_name}@{self.openai_base_url}"


def parse_token_limits(text: str) -> dict[str, int]:
    """Return `model=tokens,…` as a mapping; raise ValueError naming the faulty part."""
    limits: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        model, separator, tokens = part.partition("=")
        digits = tokens.strip().replace("_", "")
        if not separator or not model.strip() or not digits.isdecimal() or int(digits) == 0:
            raise ValueError(f"{part!r} is not `model=tokens` with a positive number of tokens")
        limits[model.strip().lower()] = int(digits)
    return limits
