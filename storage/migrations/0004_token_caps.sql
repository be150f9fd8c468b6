-- How many tokens an operator lets be enqueued for the models whose names begin so.

CREATE TABLE token_caps (
    model VARCHAR NOT NULL,
    tokens BIGINT NOT NULL,
    set_at TIMESTAMP NOT NULL,
    set_by VARCHAR NOT NULL
);
