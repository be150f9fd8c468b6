"""Outgoing: one outside system a file."""
