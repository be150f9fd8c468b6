"""The limits and fixed words of the API that is simulated."""

from __future__ import annotations

ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
)
COMPLETION_WINDOW = "24h"
WINDOW_SECONDS = 86_400
MAX_REQUESTS = 50_000
MAX_EMBEDDING_INPUTS = 50_000
MAX_BATCH_FILE_BYTES = 200 * 1024 * 1024
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MIN_EXPIRY_SECONDS = 3_600
MAX_EXPIRY_SECONDS = 2_592_000
BATCH_FILE_RETENTION_SECONDS = 2_592_000
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
ORGANIZATION = "org-simulator"
ACTIVE_STATUSES = ("validating", "in_progress", "finalizing", "cancelling")
