-- The ledger: who waits where, and what became of it. No bodies, no results.
-- No keys and no indexes: DuckDB's indexes cost more than they give here and have known faults
-- after a crash. Uniqueness is kept by the verbs, which have the ledger to themselves.

CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);

CREATE TABLE accounts (
    account VARCHAR NOT NULL,
    trouble VARCHAR,
    trouble_since TIMESTAMP,
    next_probe_at TIMESTAMP
);

CREATE TABLE jobs (
    job_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    slug VARCHAR NOT NULL,
    label VARCHAR,
    endless BOOLEAN NOT NULL,
    paused BOOLEAN NOT NULL,
    delivery_config VARCHAR,
    max_wait_seconds DOUBLE,
    created_at TIMESTAMP NOT NULL,
    completed_at TIMESTAMP,
    flush_requested_at TIMESTAMP
);

CREATE TABLE sources (
    source_id VARCHAR NOT NULL,
    part INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    job_id INTEGER,
    outcome VARCHAR NOT NULL,
    reason VARCHAR,
    content_hash VARCHAR,
    start_offset BIGINT NOT NULL,
    end_offset BIGINT NOT NULL,
    end_line INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    repeated INTEGER NOT NULL,
    taken_in_at TIMESTAMP NOT NULL
);

CREATE TABLE segments (
    segment INTEGER NOT NULL,
    source_id VARCHAR NOT NULL,
    part INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE lanes (
    lane_id INTEGER NOT NULL,
    account VARCHAR NOT NULL,
    endpoint VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    learned_limit BIGINT,
    learned_at TIMESTAMP,
    cautious_tokens BIGINT,
    refusals INTEGER NOT NULL,
    backoff_until TIMESTAMP,
    wait_reason VARCHAR,
    wait_detail VARCHAR,
    waiting_since TIMESTAMP,
    paused BOOLEAN NOT NULL
);

CREATE TABLE requests (
    segment INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    lane_id INTEGER NOT NULL,
    custom_id VARCHAR NOT NULL,
    id_hash UBIGINT NOT NULL,
    payload_hash UBIGINT NOT NULL,
    delivery_config VARCHAR,
    wire_bytes INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    expected_output_tokens INTEGER NOT NULL,
    embedding_inputs INTEGER NOT NULL,
    accepted_at TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    batch_id INTEGER,
    attempts UTINYINT NOT NULL,
    returns UTINYINT NOT NULL,
    finished_at TIMESTAMP,
    result_id INTEGER,
    result_bytes INTEGER,
    status_code SMALLINT,
    error_code VARCHAR,
    input_tokens INTEGER,
    cached_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER
);

CREATE TABLE batches (
    batch_id INTEGER NOT NULL,
    lane_id INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    closed_because VARCHAR NOT NULL,
    requests INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    expected_output_tokens BIGINT NOT NULL,
    embedding_inputs BIGINT NOT NULL,
    expected_cost_usd DECIMAL(18, 6),
    create_attempt INTEGER NOT NULL,
    token_refusals INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    not_before TIMESTAMP,
    input_file_id VARCHAR,
    provider_id VARCHAR,
    intent_at TIMESTAMP,
    post_ended_at TIMESTAMP,
    first_absent_at TIMESTAMP,
    fenced_at TIMESTAMP,
    provider_status VARCHAR,
    provider_total INTEGER,
    provider_completed INTEGER,
    provider_failed INTEGER,
    output_file_id VARCHAR,
    error_file_id VARCHAR,
    fault_code VARCHAR,
    fault_message VARCHAR,
    cancel_requested BOOLEAN NOT NULL,
    planned_at TIMESTAMP NOT NULL,
    uploaded_at TIMESTAMP,
    submitted_at TIMESTAMP,
    in_progress_at TIMESTAMP,
    ended_at TIMESTAMP,
    finished_at TIMESTAMP,
    next_poll_at TIMESTAMP,
    last_polled_at TIMESTAMP,
    lost_since TIMESTAMP,
    unreadable_since TIMESTAMP,
    succeeded INTEGER,
    failed INTEGER,
    cancelled INTEGER,
    returned INTEGER,
    odd_lines INTEGER,
    input_tokens BIGINT,
    cached_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    cost_usd DECIMAL(18, 6)
);

CREATE TABLE creates (
    batch_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    provider_id VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE provider_files (
    file_id VARCHAR NOT NULL,
    account VARCHAR NOT NULL,
    batch_id INTEGER NOT NULL,
    purpose VARCHAR NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    disposable BOOLEAN NOT NULL,
    deleted_at TIMESTAMP,
    failures INTEGER NOT NULL
);

CREATE TABLE results (
    result_id INTEGER NOT NULL,
    batch_id INTEGER,
    rows INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE deliveries (
    delivery_id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    result_id INTEGER NOT NULL,
    destination VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    rows INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TIMESTAMP,
    problem VARCHAR,
    folder VARCHAR,
    file VARCHAR,
    start_offset BIGINT,
    end_offset BIGINT,
    delivered_at TIMESTAMP
);

CREATE TABLE transitions (
    happened_at TIMESTAMP NOT NULL,
    entity VARCHAR NOT NULL,
    entity_id VARCHAR NOT NULL,
    source VARCHAR,
    target VARCHAR NOT NULL,
    reason VARCHAR,
    actor VARCHAR NOT NULL
);
