"""The data directory: staging, segments, ledger, results, outbox. The only place that knows SQL."""
