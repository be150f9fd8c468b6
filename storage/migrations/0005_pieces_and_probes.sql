-- A batch that was refused without a usable reason goes again in pieces; all of them know the
-- first one.
ALTER TABLE batches ADD COLUMN split_of INTEGER;

-- A stopped account is tried with one batch, once a look at it succeeds: what has to be proven,
-- with which batch, and how often that has failed.
ALTER TABLE accounts ADD COLUMN proof VARCHAR;
ALTER TABLE accounts ADD COLUMN probes INTEGER DEFAULT 0;
ALTER TABLE accounts ADD COLUMN probe_batch_id INTEGER;
