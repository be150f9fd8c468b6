-- Destinations beyond files: each result that is pushed somewhere has a delivery of its own.
-- What was called deliveries before were the parts of files, of many results each.

ALTER TABLE deliveries RENAME TO parts;
ALTER TABLE parts RENAME COLUMN delivery_id TO part_id;
ALTER TABLE parts DROP COLUMN destination;

CREATE TABLE destinations (
    destination_id INTEGER NOT NULL,
    config VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    disabled_at TIMESTAMP,
    disabled_because VARCHAR
);
INSERT INTO destinations VALUES
    (0, '{"type":"file"}', 'file', 'file', now()::TIMESTAMP, NULL, NULL);

CREATE TABLE targets (
    target VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    open_until TIMESTAMP,
    openings INTEGER NOT NULL,
    failing_since TIMESTAMP,
    last_success_at TIMESTAMP,
    last_outcome VARCHAR,
    problem VARCHAR
);

CREATE TABLE deliveries (
    delivery_id BIGINT NOT NULL,
    job_id INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    result_id INTEGER NOT NULL,
    destination_id INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TIMESTAMP,
    outcome VARCHAR,
    problem VARCHAR,
    finished_at TIMESTAMP
);

CREATE TABLE attempts (
    delivery_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    attempted_at TIMESTAMP NOT NULL,
    outcome VARCHAR NOT NULL,
    status_code SMALLINT,
    duration_milliseconds INTEGER NOT NULL,
    excerpt VARCHAR
);

-- The earlier version accepted no destination but files.
ALTER TABLE requests DROP COLUMN delivery_config;
ALTER TABLE requests ADD COLUMN destination_id INTEGER DEFAULT 0;

ALTER TABLE results ADD COLUMN sequence INTEGER;
UPDATE results SET sequence = numbered.sequence FROM (
    SELECT result_id, row_number() OVER (ORDER BY recorded_at, result_id) AS sequence FROM results
) AS numbered WHERE results.result_id = numbered.result_id;

ALTER TABLE batches DROP COLUMN fenced_at;
