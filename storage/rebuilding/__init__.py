"""Bringing a ledger up to what lies in the data directory: after its loss, or a restore."""
